"""A search by plain Optuna, or by Ray Tune, as their documentations run them, for benchmarks/sweep.py.

    python sweep_peers.py optuna|optuna-worker|ray PROJECT RECIPE OUT SEED WORKERS

What they call is `trained`: the project's own training of the recipe, on the same rows and for as many epochs. Each
look at the validation split is a line of OUT/events.jsonl.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.plumbing.environment import prepare_environment

EVENTS = "events.jsonl"
METRIC = "validation_accuracy"
Told = Callable[[float, int], None]
"""What is called with the objective and the epoch after each look."""


def trained(root: Path, name: str, settings: Mapping[str, Any], out: Path, told: Told) -> float:
    """Train the recipe with other settings, as the stage does it, in a folder that is gone afterwards; return the
    objective of its report."""
    from components.finetune import MODES, Inputs, Outputs
    from components.plumbing.artifacts import Layout
    from components.recipes import load_yaml, parse_recipe
    from components.tracking.tracker import NullTracker
    from flows.sweep.settings.space import for_a_trial

    raw = load_yaml(root / "params.yaml")["recipes"][name]
    params = parse_recipe(name, for_a_trial(raw, settings, precision="fp32")).finetune
    trial = uuid.uuid4().hex[:8]

    class Looks(NullTracker):
        def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
            if METRIC in values:
                note(out, trial, epoch=values["epoch"], value=values[METRIC])
                told(float(values[METRIC]), int(values["epoch"]))

    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(root, name, "finetune")
        made = layout.outputs(Outputs, folder=Path(folder), fingerprint="")
        outputs = Outputs(made.model, made.control, made.history, Path(folder) / "trials" / trial / "checkpoints")
        report = MODES[params.mode]().run(params, layout.inputs(Inputs), outputs, tracker=Looks())
    return float(getattr(report, METRIC))


def note(out: Path, trial: str, *, epoch: float, value: float) -> None:
    line = json.dumps({"time": time.time(), "trial": trial, "epoch": epoch, "value": value}) + "\n"
    with (out / EVENTS).open("a", encoding="utf-8") as file:  # one write a line, so that processes do not mix theirs
        file.write(line)


def known_of(root: Path, name: str) -> tuple[Any, Mapping[str, Any], list[tuple[float, float]]]:
    """Return the recipe's sweep, the present settings of its space, and the curve of these."""
    from components.recipes import load_recipe, load_yaml
    from flows.sweep.settings.space import present_of
    from flows.sweep.trials.work import curve_of

    sweep = load_recipe(root, name).sweep
    assert sweep is not None
    raw = load_yaml(root / "params.yaml")["recipes"][name]
    curve = curve_of(root / "artifacts" / name / "finetune", sweep.followed)
    return sweep, present_of(sweep, raw), list(curve)


# ---------------------------------------------------------------- Optuna


def by_optuna(root: Path, name: str, out: Path, *, seed: int, workers: int) -> None:
    """A study in a journal, as its page on parallel optimization has it for the processes of one machine."""
    import optuna

    from flows.sweep.study import distribution_of

    sweep, present, curve = known_of(root, name)
    study = optuna.create_study(storage=storage_in(out), study_name=name, direction="maximize")
    study.add_trial(optuna.create_trial(
        params=dict(present), distributions={path: distribution_of(one) for path, one in sweep.space.items()},
        value=curve[-1][1], intermediate_values={int(epoch): value for epoch, value in curve},
    ))  # fmt: skip
    words = [sys.executable, __file__, "optuna-worker", str(root), name, str(out)]
    started = [subprocess.Popen([*words, str(workers * seed + one), str(workers)]) for one in range(workers)]
    if codes := [code for one in started if (code := one.wait())]:
        sys.exit(f"a worker of Optuna ended with {codes[0]}")


def storage_in(out: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(out / "journal.log")))


def optuna_worker(root: Path, name: str, out: Path, *, seed: int) -> None:
    import optuna
    from optuna.study import MaxTrialsCallback

    from flows.sweep.settings.space import draw

    sweep, _, _ = known_of(root, name)

    def objective(trial: optuna.Trial) -> float:
        def told(value: float, epoch: int) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return trained(root, name, draw(trial, sweep, {}), out, told)

    study = optuna.load_study(
        study_name=name, storage=storage_in(out), sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=sweep.pruner.first_epoch, reduction_factor=sweep.pruner.factor
        ),
    )  # fmt: skip
    study.optimize(objective, callbacks=[MaxTrialsCallback(sweep.trials, states=None)])


# ---------------------------------------------------------------- Ray Tune


def by_ray(root: Path, name: str, out: Path, *, seed: int, workers: int) -> None:
    """A Tuner with ASHA and Optuna's sampler, as its guide for Optuna has it."""
    ray = importlib.import_module("ray")
    tune = importlib.import_module("ray.tune")
    schedulers = importlib.import_module("ray.tune.schedulers")
    search = importlib.import_module("ray.tune.search.optuna")

    from components.recipes import load_recipe

    # By its module's name, so that Ray's processes import it; what lies in a script it would copy in pieces.
    called: type[TrainedByRay] = importlib.import_module("sweep_peers").TrainedByRay
    sweep, present, curve = known_of(root, name)
    training: Any = load_recipe(root, name).finetune
    tuner = tune.Tuner(
        tune.with_resources(called(root, name, out), {"cpu": 1}),
        param_space={path: in_ray(tune, one) for path, one in sweep.space.items()},
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="max", num_samples=sweep.trials - 1, max_concurrent_trials=workers,
            search_alg=search.OptunaSearch(
                points_to_evaluate=[dict(present)], evaluated_rewards=[curve[-1][1]], seed=seed
            ),
            scheduler=schedulers.ASHAScheduler(
                max_t=training.epochs, grace_period=sweep.pruner.first_epoch, reduction_factor=sweep.pruner.factor
            ),
        ),
        run_config=tune.RunConfig(storage_path=str(out / "ray"), verbose=0),
    )  # fmt: skip
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    found = tuner.fit()
    if found.errors:
        sys.exit(f"a trial of Ray failed: {found.errors[0]}")
    ray.shutdown()


class TrainedByRay:
    """What Ray calls with the settings of a trial, in a process of its own."""

    def __init__(self, root: Path, name: str, out: Path) -> None:
        self.of = root, name, out
        self.__name__ = name

    def __call__(self, config: dict[str, Any]) -> None:
        tune = importlib.import_module("ray.tune")
        prepare_environment()
        root, name, out = self.of
        trained(root, name, config, out, lambda value, _: tune.report({METRIC: value}))


def in_ray(tune: Any, one: Any) -> Any:
    from components.params.sweep import Choice

    if isinstance(one, Choice):
        return tune.choice(list(one.choices))
    low, high = one.ends
    if one.integer is not None:
        return tune.randint(low, high + 1)
    return tune.loguniform(low, high) if one.log is not None else tune.uniform(low, high)


def main() -> None:
    which, root, name, out, seed, workers = sys.argv[1:]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    prepare_environment()
    places = Path(root), name, Path(out)
    if which == "optuna-worker":
        optuna_worker(*places, seed=int(seed))
    else:
        {"optuna": by_optuna, "ray": by_ray}[which](*places, seed=int(seed), workers=int(workers))


if __name__ == "__main__":
    main()
