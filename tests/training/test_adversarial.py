from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.models.facts import Facts
from components.models.gan.network import Gan
from components.objectives.adversarial import Averaged, Game, is_shown, kept, prepare
from components.params import Adversarial, Optimizer, PretrainFromData
from components.params.families.gan import GanSettings
from components.plumbing.errors import InputError
from components.recipes import load_recipe
from components.tracking.tracker import NullTracker
from components.training import loop
from components.training.loop import train
from components.training.objective import Data, Objective
from components.training.plan import plan_of
from components.training.seats import Seat
from tests.optimizers import optimizers_of
from tests.tiny_images import SHAPE, make_generating, write_images

CPU = torch.device("cpu")


class Recorder(NullTracker):
    def __init__(self) -> None:
        self.pictures: dict[str, tuple[int, int]] = {}

    def log_picture(self, picture: np.ndarray, name: str) -> None:
        self.pictures[name] = picture.shape


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_generating(tmp_path_factory.mktemp("generating"))


def params_of(root: Path, **changes: Any) -> PretrainFromData:
    """The recipe's section; changes to the objective or the model are given as `objective__name`."""
    section = load_recipe(root, "tiny").pretrain
    assert isinstance(section, PretrainFromData)
    raw = section.model_dump(mode="python")
    for path, value in changes.items():
        node = raw
        *parents, last = path.split("__")
        for key in parents:
            node = node[key]
        node[last] = value
    return PretrainFromData.model_validate(raw)


def objective_of(
    root: Path, params: PretrainFromData, *, tracker: NullTracker | None = None, model: nn.Module | None = None
) -> tuple[Gan, Objective]:
    torch.manual_seed(0)
    assert isinstance(params.model, GanSettings)
    folder = root / "artifacts/tiny/preprocess"
    gan = Gan(params.model, num_values=64)
    objective = prepare(
        params,
        model=model or gan,
        facts=Facts(shape=SHAPE),
        data=Data(folder / "train.parquet", folder / "validation.parquet", None, folder / "predictor"),
        tracker=tracker or NullTracker(),
        device=CPU,
        precision="fp32",
    )
    return gan, objective


def trained(root: Path, params: PretrainFromData, checkpoints: Path, **how: Any) -> tuple[Gan, Objective]:
    _, objective = objective_of(root, params, **how)
    assert objective.model is not None
    train(
        objective.model, plan_of(params, objective, "fp32"), objective, optimizers_of(params, objective),
        checkpoints=checkpoints, tracker=how.get("tracker", NullTracker()), title="gan",
    )  # fmt: skip
    result = objective.result(objective.model)
    assert isinstance(result, Gan)
    return result, objective


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_each_player_moves_its_own_weights_alone(root: Path) -> None:
    params = params_of(root)
    gan, objective = objective_of(root, params)
    plan, batch = plan_of(params, objective, "fp32"), next(iter(objective.batches(0, 0)))
    assert [player.name for player in objective.players] == ["discriminator", "generator"]
    for player, optimizer in zip(objective.players, optimizers_of(params, objective), strict=True):
        before = weights_of(gan)
        Seat(player, optimizer).step(objective.model or gan, batch, plan=plan, position=loop.Position())
        moved = {name for name, value in gan.named_parameters() if not torch.equal(value, before[name])}
        assert moved == {name for name, _ in gan.named_parameters() if name.startswith(f"{player.name}.")}


def test_each_player_has_the_optimizer_of_its_own_settings(root: Path) -> None:
    params = params_of(root, optimizer__learning_rate=0.02, objective__discriminator__learning_rate=0.03)
    _, objective = objective_of(root, params)
    rates = [optimizer.defaults["lr"] for optimizer in optimizers_of(params, objective)]
    assert dict(zip([player.name for player in objective.players], rates, strict=True)) == {
        "discriminator": 0.03, "generator": 0.02
    }  # fmt: skip


def test_real_rows_are_wanted_a_little_below_one(root: Path) -> None:
    params = params_of(root, objective__label_smoothing=0.25, model__dropout=0.0)
    gan, objective = objective_of(root, params)
    batch = next(iter(objective.batches(0, 0)))
    loss = objective.players[0].loss_of(objective.model or gan, batch)
    with torch.no_grad():
        real, fake = (torch.sigmoid(gan.discriminator(x)) for x in (batch.values, gan.generator(batch.latents)))
    expected = -(0.75 * real.log() + 0.25 * (1 - real).log()).mean() - (1 - fake).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_generator_loss_does_not_saturate(root: Path) -> None:
    params = params_of(root, model__dropout=0.0)
    gan, objective = objective_of(root, params)
    batch = next(iter(objective.batches(0, 0)))
    loss = objective.players[1].loss_of(objective.model or gan, batch)
    with torch.no_grad():
        expected = -torch.sigmoid(gan.discriminator(gan.generator(batch.latents))).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_batches_are_the_same_at_each_call(root: Path) -> None:
    _, objective = objective_of(root, params_of(root, objective__max_shift=2))
    whole, again, rest = (list(objective.batches(epoch, start)) for epoch, start in ((3, 0), (3, 0), (3, 4)))
    assert len(whole) == objective.num_steps_per_epoch == 6
    for one, other in [*zip(whole, again, strict=True), *zip(whole[4:], rest, strict=True)]:
        for name in ("row", "values", "latents", "moves"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    other_epoch = next(iter(objective.batches(4, 0)))
    assert not torch.equal(other_epoch.latents, whole[0].latents)
    assert not torch.equal(whole[0].latents, whole[1].latents)
    assert sorted(row for batch in whole for row in batch.row) == list(range(240))


def test_mean_of_the_weights_is_kept(root: Path) -> None:
    gan, _ = objective_of(root, params_of(root))
    averaged = Averaged(gan, share=0.75)
    before = weights_of(gan.generator)
    with torch.no_grad():
        for value in gan.generator.parameters():
            value.add_(1)
    averaged.follow()
    latents = torch.randn(5, gan.latent_size)
    averaged.eval()
    from_mean, from_last = averaged(latents), gan.eval()(latents)
    assert not torch.allclose(from_mean, from_last)
    result = kept(averaged, gan)
    for name, value in result.generator.named_parameters():
        assert torch.allclose(value, before[name] + 0.25)
    assert torch.allclose(result(latents), from_mean)


def test_without_averaging_the_last_weights_are_kept(root: Path) -> None:
    gan, objective = objective_of(root, params_of(root, objective__averaging=None))
    assert objective.model is gan
    assert objective.result(gan) is gan


def test_rows_are_shifted_as_images() -> None:
    adam = Optimizer(name="adam", learning_rate=0.1, weight_decay=0.0, betas=(0.5, 0.9))
    settings = Adversarial(name="adversarial", label_smoothing=0.1, discriminator=adam, max_shift=1, averaging=None)
    game = Game(settings, (2, 3), background=-1.0)
    moved = game.shifted(torch.arange(6.0)[None], torch.tensor([[1, -1]]))
    assert moved.tolist() == [[-1, -1, -1, 1, 2, -1]]


def test_samples_are_shown_as_training_goes(root: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    trained(root, params_of(root, epochs=3), tmp_path, tracker=recorder)
    assert set(recorder.pictures) == {f"samples/epoch_000{epoch}.png" for epoch in (1, 2, 3)}
    assert set(recorder.pictures.values()) == {(78, 78)}  # 8 images of 8 pixels with gaps of 2, either way
    assert [epoch for epoch in range(1, 101) if is_shown(epoch, num_epochs=100)] == [*range(8, 97, 8), 100]


def test_figures_of_each_epoch_do_not_disturb_the_training(root: Path) -> None:
    _, objective = objective_of(root, params_of(root))
    assert objective.model is not None
    torch.manual_seed(1)
    state = torch.get_rng_state()
    next(iter(objective.batches(0, 0)))
    figures = objective.validate(objective.model)
    assert set(figures) == {"validation_loss", "validation_discriminator_loss", "discriminator_accuracy"}
    assert torch.equal(state, torch.get_rng_state())
    assert figures == objective.validate(objective.model)
    with torch.no_grad():
        for parameter in objective.model.discriminator.parameters():
            parameter.zero_()
    undecided = objective.validate(objective.model)
    assert undecided["validation_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert undecided["discriminator_accuracy"] == 0.5


def test_values_beyond_the_generators_range_are_refused(root: Path, tmp_path: Path) -> None:
    folder = make_generating(tmp_path)
    images = np.full((10, *SHAPE), 200, np.uint8)
    write_images(folder / "artifacts/tiny/preprocess/validation.parquet", images * 1.0 + 60, np.zeros(10, int))
    with pytest.raises(InputError, match=r"the rows go from 1\.03\d+ to 1\.03\d+ in the model's scale"):
        objective_of(folder, params_of(root))


def test_another_family_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"which the family 'gan' has not; set pretrain.model.family to 'gan'"):
        objective_of(root, params_of(root), model=nn.Linear(8, 64))


def test_batch_of_a_single_row_is_refused_with_batch_norm(root: Path) -> None:
    with pytest.raises(InputError, match="240 rows in batches of 239 one batch has a single row"):
        objective_of(root, params_of(root, batch_size=239))
    objective_of(root, params_of(root, batch_size=239, model__batch_norm=False))
