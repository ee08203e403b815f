"""The adversarial objective: a generator and a discriminator that train against each other (Goodfellow et al. 2014).

The discriminator tells real rows from generated ones, with one-sided label smoothing (Salimans et al. 2016); then the
generator takes a step on the non-saturating loss. What the discriminator sees may be shifted, real and generated rows
alike, so that few rows last longer (Zhao et al. 2020, DiffAugment). Everything that is drawn for a batch depends on the
seed, the epoch and the step alone, so that a training that carries on draws the same.

Reads the rows of the training and validation splits, and predictor.json for their scale.

Legend: B rows of a batch, Z numbers of a latent, N numbers of a row, H and W the sides of an image.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
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
from components.training.batches import check_batch_norm, num_batches, read_arrays, rows_of_a_step, training_members
from components.training.objective import Data, Objective, Player
from components.training.optimizers import build_optimizer
from components.training.precision import Precision
from serving.predictors.pictures import grey_levels, png_of, tiled

NUM_PICTURES = 12
"""Grids of samples that a training shows, the last epoch's among them."""
SAMPLES_A_PICTURE = 64
PICTURE_SEED = 0
TOLERANCE = 1e-3  # of a scale that is rounded


@dataclass(frozen=True)
class GanBatch:
    """Real rows, and what is drawn for the step on them."""

    row: np.ndarray
    """(B,)"""
    values: Tensor
    """Real rows in the model's scale, (B, N)."""
    latents: Tensor
    """Of as many generated rows, (B, Z)."""
    moves: Tensor
    """Pixels down and right, of the real rows, the generated ones, and those of the generator's step; (3, B, 2)."""

    @property
    def num_units(self) -> int:
        """Rows."""
        return len(self.row)


class Averaged(nn.Module):
    """A GAN in training, and the running mean of its generator, which is what samples are drawn from."""

    def __init__(self, gan: Contesting, *, share: float) -> None:
        """`share` is how much of the mean remains at each step."""
        super().__init__()
        self.generator, self.discriminator, self.share = gan.generator, gan.discriminator, share
        self.average = deepcopy(gan.generator).requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        return self.average(latents)

    @torch.no_grad()
    def follow(self) -> None:
        """Take the generator's present weights, and batch norm's means, into the mean."""
        for mean, value in zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - self.share)
            else:
                mean.copy_(value)


@dataclass(frozen=True)
class Game:
    """The data and the settings that both losses know."""

    settings: Adversarial
    shape: tuple[int, ...]
    """(H, W)"""
    background: float
    """What comes in from outside of a shifted image: 0, in the model's scale."""

    def discriminator_loss(self, model: Any, batch: GanBatch) -> Tensor:
        """Cross-entropy of real rows as nearly 1, generated ones as 0. Begins each step, so the mean follows here: it
        is one step behind.
        """
        if isinstance(model, Averaged):
            model.follow()
        with torch.no_grad():
            generated = model.generator(batch.latents).float()  # (B, N)
        seen = torch.cat([self.shifted(batch.values, batch.moves[0]), self.shifted(generated, batch.moves[1])])
        real, fake = model.discriminator(seen).float().chunk(2)  # (B, 1) each
        wanted = torch.full_like(real, 1 - self.settings.label_smoothing)
        return functional.binary_cross_entropy_with_logits(real, wanted) + functional.softplus(fake).mean()

    def generator_loss(self, model: Any, batch: GanBatch) -> Tensor:
        """Non-saturating: how surely the discriminator takes generated rows for generated ones."""
        generated = model.generator(batch.latents).float()  # (B, N)
        verdict = model.discriminator(self.shifted(generated, batch.moves[2])).float()  # (B, 1)
        return functional.softplus(-verdict).mean()

    def shifted(self, rows: Tensor, moves: Tensor) -> Tensor:
        """Rows (B, N) of images, each moved by its own pixels down and right (B, 2)."""
        images = rows.unflatten(1, self.shape)  # (B, H, W)
        return shifted(images, moves, most=self.settings.max_shift, background=self.background).flatten(1)


@dataclass(frozen=True)
class Rows:
    """A split, in the model's scale."""

    row: np.ndarray
    """Number of each row in data.parquet."""
    values: Tensor
    """One row of numbers for each, from -1 to 1."""


class Deck:
    """The training rows in batches, with what is drawn for each."""

    def __init__(self, params: PretrainFromData, rows: Rows, *, latent_size: int, max_shift: int) -> None:
        self.params, self.rows, self.latent_size, self.max_shift = params, rows, latent_size, max_shift
        self.batch_size = rows_of_a_step(params.batch_size, num_rows=len(rows.row))
        self.epoch = 0
        """That batches were last asked of."""

    @property
    def num_steps_per_epoch(self) -> int:
        return num_batches(len(self.rows.row), batch_size=self.batch_size, steps=self.params.steps_per_epoch)

    def batches(self, epoch: int, start: int) -> Iterator[GanBatch]:
        """An epoch's batches from the start-th on, the same at each call."""
        self.epoch = epoch
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
    """The two players on the training rows. InputError where the model is no GAN, or cannot make such rows."""
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
    check_batch_norm(model, len(train.row), batch_size=deck.batch_size, steps=params.steps_per_epoch, stage="pretrain")
    latents = fixed_latents(len(validation.row), size=gan.latent_size, device=device)

    def validate(trained: nn.Module) -> dict[str, float]:
        generated, figures = generate_beside(trained, validation.values, latents, precision=precision)
        if is_shown(deck.epoch + 1, num_epochs=params.epochs):
            show(generated[:SAMPLES_A_PICTURE], shape=facts.shape, epoch=deck.epoch + 1, tracker=tracker)
        return figures

    return Objective(
        players=players(params, Game(settings, facts.shape, background=-offset / scale), gan),
        batches=deck.batches,
        num_steps_per_epoch=deck.num_steps_per_epoch,
        validate=validate,
        unit="rows",
        model=model if settings.averaging is None else Averaged(gan, share=settings.averaging),
        result=lambda trained: kept(trained, model),
    )


def fixed_latents(count: int, *, size: int, device: torch.device) -> Tensor:
    """Latents (B, Z) for the figures and pictures of every epoch, so that epochs can be compared."""
    random = np.random.default_rng(PICTURE_SEED)
    return torch.from_numpy(random.standard_normal((count, size), np.float32)).to(device)


def read_scaled(path: Path, *, shape: tuple[int, ...], offset: float, scale: float, device: torch.device) -> Rows:
    """A split's rows in the model's scale. InputError where they lie beyond what tanh can give."""
    arrays = read_arrays(path, shape=shape)
    values = ((arrays.values - offset) / scale).astype(np.float32).reshape(len(arrays), -1)
    low, high = float(values.min()), float(values.max())
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        raise InputError(
            f"the rows go from {low:g} to {high:g} in the model's scale, (value - {offset:g}) / {scale:g}, but a "
            "generator gives -1 to 1; let preprocess.offset be the middle of the values, and scale half their range"
        )
    return Rows(row=arrays.row, values=torch.from_numpy(values).to(device))


def players(params: PretrainFromData, game: Game, gan: Contesting) -> list[Player]:
    """The discriminator, then the generator, each with its own weights alone."""
    assert isinstance(params.objective, Adversarial)
    return [
        Player(
            name="discriminator",
            make_optimizer=partial(build_optimizer, params.objective.discriminator),
            parameters=list(gan.discriminator.named_parameters(prefix="discriminator")),
            loss_of=game.discriminator_loss,
        ),
        Player(
            name="generator",
            make_optimizer=partial(build_optimizer, params.optimizer),
            parameters=list(gan.generator.named_parameters(prefix="generator")),
            loss_of=game.generator_loss,
        ),
    ]


@torch.inference_mode()
def generate_beside(
    model: Any, real: Tensor, latents: Tensor, *, precision: Precision
) -> tuple[Tensor, dict[str, float]]:
    """Rows generated from the latents, and how they do beside as many real ones of the validation split.

    A discriminator_accuracy of 0.5 is a generator that cannot be told from the data, or a discriminator that knows
    nothing.
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
    """Whether an epoch's samples are shown: some, evenly spread, and the last's."""
    return epoch % max(1, num_epochs // NUM_PICTURES) == 0 or epoch == num_epochs


def show(rows: Tensor, *, shape: tuple[int, ...], epoch: int, tracker: Tracker) -> None:
    """Log rows in the model's scale as one picture; the same latents each time, so that progress can be watched."""
    images = grey_levels(rows.cpu().numpy(), shape=shape)
    with TemporaryDirectory(prefix="modelyard-samples-") as folder:
        path = Path(folder) / f"epoch_{epoch:04d}.png"
        path.write_bytes(png_of(tiled(images)))
        tracker.log_file(path, folder="samples")


def kept(trained: nn.Module, model: nn.Module) -> nn.Module:
    """The model, its generator with the mean of its weights where one was kept."""
    if isinstance(trained, Averaged):
        trained.generator.load_state_dict(trained.average.state_dict())
    return model
