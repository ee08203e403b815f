"""The adversarial objective: a generator and a discriminator that train against each other (Goodfellow et al. 2014).

The discriminator tells real rows from generated ones, with one-sided label smoothing (Salimans et al. 2016); then the
generator takes a step on the non-saturating loss. What the discriminator sees may be shifted, real and generated rows
alike, so that few rows last longer (Zhao et al. 2020, DiffAugment). Everything that is drawn for a batch depends on the
seed, the epoch and the step alone, so that a training that carries on draws the same.

Reads the rows of the training and validation splits, and predictor.json for their scale.

Legend: B rows of a batch, Z numbers of a latent, N numbers of a row, H and W the sides of an image.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.models.facts import Facts
from components.models.generating import Contesting, contesting
from components.models.shifting import shifted
from components.params import Adversarial, PretrainFromData
from components.plumbing.artifacts import PREDICTOR, read_json
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.batches import check_batch_norm, cuts, num_batches, rows_of_a_step, training_members
from components.training.objective import Data, Objective, Player, shares
from components.training.precision import Precision
from components.training.splits import read_arrays
from serving.predictors.pictures import grey_levels, tiled

NUM_PICTURES = 12
"""The number of sample grids that a training aims to show, the last epoch's among them."""
SAMPLES_A_PICTURE = 64
PICTURE_SEED = 0
TOLERANCE = 1e-3  # of a scale that is rounded


@dataclass(frozen=True)
class GanBatch:
    """Real rows, and what is drawn for one step on them."""

    row: np.ndarray
    """The number of each real row in data.parquet, (B,)."""
    values: Tensor
    """The real rows in the model's scale, (B, N)."""
    latents: Tensor
    """The latents of as many generated rows, (B, Z)."""
    moves: Tensor
    """The shifts in pixels down and right, (3, B, 2): of real rows, generated rows and rows of the generator's step."""

    @property
    def num_units(self) -> int:
        """The number of rows."""
        return len(self.row)

    def parts(self, size: int) -> list["GanBatch"]:
        """Return the rows, with what is drawn for each, in parts of at most `size`."""
        return [
            GanBatch(self.row[cut], self.values[cut], self.latents[cut], self.moves[:, cut])
            for cut in cuts(len(self.row), size)
        ]


class Averaged(nn.Module):
    """A GAN in training, with the running mean of its generator's weights, from which samples are drawn."""

    def __init__(self, gan: Contesting, *, share: float) -> None:
        """`share` is the share of the mean that remains at each step, from 0 to 1."""
        super().__init__()
        self.generator, self.discriminator, self.share = gan.generator, gan.discriminator, share
        self.average = deepcopy(gan.generator).requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        return self.average(latents)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the mean towards the generator's present weights and batch-norm statistics."""
        for mean, value in zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - self.share)
            else:
                mean.copy_(value)


@dataclass(frozen=True)
class Game:
    """The data and the settings that both losses share."""

    settings: Adversarial
    shape: tuple[int, ...]
    """The sides of an image, (H, W)."""
    background: float
    """The value that comes in from outside of a shifted image: 0 of the source, in the model's scale."""

    def discriminator_loss(self, model: Any, batch: GanBatch) -> Tensor:
        """Return the cross-entropy of real rows as nearly 1 and of generated rows as 0."""
        with torch.no_grad():
            generated = model.generator(batch.latents).float()  # (B, N)
        seen = torch.cat([self.shifted(batch.values, batch.moves[0]), self.shifted(generated, batch.moves[1])])
        real, fake = model.discriminator(seen).float().chunk(2)  # (B, 1) each
        wanted = torch.full_like(real, 1 - self.settings.label_smoothing)
        return functional.binary_cross_entropy_with_logits(real, wanted) + functional.softplus(fake).mean()

    def generator_loss(self, model: Any, batch: GanBatch) -> Tensor:
        """Return the non-saturating loss, which falls as the discriminator takes generated rows for real ones."""
        generated = model.generator(batch.latents).float()  # (B, N)
        verdict = model.discriminator(self.shifted(generated, batch.moves[2])).float()  # (B, 1)
        return functional.softplus(-verdict).mean()

    def shifted(self, rows: Tensor, moves: Tensor) -> Tensor:
        """Return rows (B, N) of images, each moved down and right by its own pixels in `moves` (B, 2)."""
        images = rows.unflatten(1, self.shape)  # (B, H, W)
        return shifted(images, moves, most=self.settings.max_shift, background=self.background).flatten(1)


@dataclass(frozen=True)
class Rows:
    """The rows of a split, in the model's scale."""

    row: np.ndarray
    """The number of each row in data.parquet."""
    values: Tensor
    """The N numbers of each row, from -1 to 1."""


class Deck:
    """The training rows in batches, with the latents and the shifts that are drawn for each."""

    def __init__(self, params: PretrainFromData, rows: Rows, *, latent_size: int, max_shift: int) -> None:
        self.params, self.rows, self.latent_size, self.max_shift = params, rows, latent_size, max_shift
        self.batch_size = rows_of_a_step(params.batch_size, num_rows=len(rows.row))
        self.epoch = 0
        """The epoch, from 0 on, of which batches were last asked."""

    @property
    def num_steps_per_epoch(self) -> int:
        return num_batches(len(self.rows.row), batch_size=self.batch_size, steps=self.params.steps_per_epoch)

    def batches(self, epoch: int, start: int) -> Iterator[GanBatch]:
        """Return an epoch's batches from the `start`-th on, the same at each call."""
        self.epoch = epoch  # at once: a training that was killed in a look takes no batch before it looks again
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[GanBatch]:
        seed, device = self.params.seed, self.rows.values.device
        members = training_members(
            len(self.rows.row), batch_size=self.batch_size, seed=seed, epoch=epoch, start=start,
            steps=self.params.steps_per_epoch,
        )  # fmt: skip
        for step, chosen in enumerate(members, start):
            random = np.random.default_rng([seed, epoch, step, 2])  # another stream than that of the order
            latents = random.standard_normal((len(chosen), self.latent_size), np.float32)
            moves = random.integers(-self.max_shift, self.max_shift, size=(3, len(chosen), 2), endpoint=True)
            yield GanBatch(
                row=self.rows.row[chosen],
                values=self.rows.values[torch.from_numpy(chosen).to(device)],
                latents=torch.from_numpy(latents).to(device),
                moves=torch.from_numpy(moves).to(device),
            )


def prepare(
    params: PretrainFromData, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker, device: torch.device,
    precision: Precision,
) -> Objective:  # fmt: skip
    """Set up the two players on the training rows.

    Raise InputError where the model is no GAN, where rows lie beyond its scale, or where batch norm would see a single
    row.
    """
    settings = params.objective
    assert isinstance(settings, Adversarial)
    gan = contesting(model, family=params.model.family)
    told: dict[str, Any] = read_json(data.predictor / PREDICTOR)
    offset, scale = float(told["offset"]), float(told["scale"])
    train, validation = (
        read_scaled(path, shape=facts.shape, offset=offset, scale=scale, device=device)
        for path in (data.train, data.validation)
    )
    deck = Deck(params, train, latent_size=gan.latent_size, max_shift=settings.max_shift)
    check_batch_norm(
        model, len(train.row), batch_size=deck.batch_size, micro_batch_size=params.micro_batch_size,
        steps=params.steps_per_epoch, stage="pretrain",
    )  # fmt: skip
    latents = fixed_latents(len(validation.row), size=gan.latent_size, device=device)

    def validate(trained: nn.Module) -> dict[str, float]:
        generated, figures = generate_beside(trained, validation.values, latents, precision=precision)
        if is_shown(deck.epoch + 1, num_epochs=params.epochs):
            show(generated[:SAMPLES_A_PICTURE], shape=facts.shape, epoch=deck.epoch + 1, tracker=tracker)
        return figures

    return Objective(
        players=players(Game(settings, facts.shape, background=-offset / scale), gan),
        batches=deck.batches,
        num_steps_per_epoch=deck.num_steps_per_epoch,
        validate=validate,
        unit="rows",
        model=model if settings.averaging is None else Averaged(gan, share=settings.averaging),
        before_step=follow,
        result=lambda trained: kept(trained, model),
    )


def follow(trained: nn.Module) -> None:
    """Have the running mean of the generator's weights, where one is kept, follow one step behind."""
    if isinstance(trained, Averaged):
        trained.follow()


def fixed_latents(count: int, *, size: int, device: torch.device) -> Tensor:
    """Draw latents (B, Z) for the figures and pictures of every epoch, so that epochs can be compared."""
    random = np.random.default_rng(PICTURE_SEED)
    return torch.from_numpy(random.standard_normal((count, size), np.float32)).to(device)


def read_scaled(path: Path, *, shape: tuple[int, ...], offset: float, scale: float, device: torch.device) -> Rows:
    """Read a split's rows in the model's scale; raise InputError where they lie beyond -1 to 1, as tanh cannot."""
    arrays = read_arrays(path, shape=shape)
    values = ((arrays.values - offset) / scale).astype(np.float32).reshape(len(arrays), -1)
    low, high = float(values.min()), float(values.max())
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        raise InputError(
            f"the rows go from {low:g} to {high:g} in the model's scale, (value - {offset:g}) / {scale:g}, but a "
            "generator gives -1 to 1; let preprocess.offset be the middle of the values, and scale half their range"
        )
    return Rows(row=arrays.row, values=torch.from_numpy(values).to(device))


def players(game: Game, gan: Contesting) -> list[Player]:
    """Return the discriminator, then the generator, each with its own weights alone."""
    return [
        Player(
            name="discriminator",
            parameters=list(gan.discriminator.named_parameters(prefix="discriminator")),
            loss_of=game.discriminator_loss,
            divided=divided,
        ),
        Player(
            name="generator",
            parameters=list(gan.generator.named_parameters(prefix="generator")),
            loss_of=game.generator_loss,
            divided=divided,
        ),
    ]


def divided(batch: GanBatch, size: int) -> Sequence[tuple[GanBatch, float]]:
    """Return a batch in parts, each with the share of its rows; there are as many generated rows as real ones."""
    return shares(batch.parts(size), lambda part: part.num_units)


@torch.inference_mode()
def generate_beside(
    model: Any, real: Tensor, latents: Tensor, *, precision: Precision
) -> tuple[Tensor, dict[str, float]]:
    """Return rows (B, N) generated from the latents, and their figures beside real rows of the validation split.

    There are as many real rows as latents. A discriminator_accuracy of 0.5 means that the generator cannot be told from
    the data, or that the discriminator knows nothing.
    """
    model.eval()
    with torch.autocast(real.device.type, torch.bfloat16, enabled=precision == "bf16"):
        generated = model(latents).float()  # (B, N)
        on_real = model.discriminator(real).float()  # (B, 1)
        on_generated = model.discriminator(generated).float()  # (B, 1)
    against = functional.softplus(-on_real).mean() + functional.softplus(on_generated).mean()
    right = torch.cat([on_real > 0, on_generated <= 0]).float().mean()
    return generated, {
        "validation_loss": functional.softplus(-on_generated).mean().item(),
        "validation_discriminator_loss": against.item(),
        "discriminator_accuracy": right.item(),
    }


def is_shown(epoch: int, *, num_epochs: int) -> bool:
    """Return whether an epoch's samples are shown: those of some epochs, evenly spread, and of the last one."""
    return epoch % max(1, num_epochs // NUM_PICTURES) == 0 or epoch == num_epochs


def show(rows: Tensor, *, shape: tuple[int, ...], epoch: int, tracker: Tracker) -> None:
    """Log rows in the model's scale as one picture, named by the epoch, so that progress can be watched."""
    images = grey_levels(rows.cpu().numpy(), shape=shape)
    tracker.log_picture(tiled(images), f"samples/epoch_{epoch:04d}.png")


def kept(trained: nn.Module, model: nn.Module) -> nn.Module:
    """Return the model, whose generator takes the running mean of its weights where one was kept."""
    if isinstance(trained, Averaged):
        trained.generator.load_state_dict(trained.average.state_dict())
    return model
