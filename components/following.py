"""A stage on several devices: what its first rank does beside the work, and what each other rank does of it.

The first rank runs the stage as on one device. The others go through its trainings with it, and track, show and write
nothing; where one fails, the first says so.
"""

import os
import tempfile
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.params import Recipe, Training
from components.plumbing.artifacts import Layout
from components.plumbing.errors import InputError, ModelyardError, TrainingError
from components.plumbing.launched import FOLDER_VARIABLE, launched
from components.plumbing.logs import be_silent
from components.plumbing.logs import say as write_line
from components.plumbing.stopping import Stopping
from components.recipes import load_recipe, section_of
from components.stages import STAGES, fingerprint_in
from components.tracking.tracker import NullTracker

LINGER_S = 20.0
"""The seconds for which a rank that failed stays, since torchrun ends all others as soon as one is gone: the first one
needs some to say why."""


def is_other_rank() -> bool:
    """Return whether a launcher started this process as another rank than the first."""
    with suppress(InputError):  # which the stage says
        found = launched()
        return found is not None and found.rank > 0
    return False


def num_to_start(settings: Recipe, stage: str) -> int:
    """Return how many ranks a stage has to start: several where its recipe has as many devices and no launcher started
    it, and else 1.

    Raise InputError where one started several processes for a stage that trains nothing.
    """
    found = launched()
    is_training = isinstance(section_of(settings, stage), Training)
    if found is not None and found.size > 1 and not is_training:
        raise InputError("it trains nothing, so one process is enough: start it without a launcher")
    is_alone = found is None and is_training
    return settings.devices.count if is_alone and settings.devices is not None else 1


def follow_stage(layout: Layout, *, debug: bool) -> int:
    """Do the part of this rank, which is not the first, in a stage's trainings; return the exit code."""
    from components.fitting import fit  # here, since it takes a second, and most stages train nothing

    be_silent()
    try:
        stopping = Stopping()
        settings = load_recipe(layout.root, layout.recipe)
        work = STAGES[layout.stage](settings)
        with (
            tempfile.TemporaryDirectory(prefix="modelyard-rank-") as folder,
            stopping.work(),
            ranks_of(layout, settings),
        ):  # fmt: skip
            if work.trainings is None:
                raise InputError("it trains nothing")
            inputs = layout.inputs(work.Inputs)
            outputs = layout.outputs(work.Outputs, folder=Path(folder), fingerprint=fingerprint_in(layout, settings))
            section = section_of(settings, layout.stage)
            for training in work.trainings(section, inputs, outputs, tracker=NullTracker()):
                fit(training, tracker=NullTracker())
    except KeyboardInterrupt:
        return 130
    except TrainingError:  # which all ranks come to, and the first one has to write more of
        return 0
    except Exception as error:
        is_ours = FOLDER_VARIABLE in os.environ
        if debug or not isinstance(error, ModelyardError):
            traceback.print_exc()
        elif is_ours:  # to a file, which is read where the first one cannot say it
            write_line(str(error))
        with suppress(KeyboardInterrupt):
            time.sleep(0 if is_ours else LINGER_S)
        return error.exit_code if isinstance(error, ModelyardError) else 1
    return 0


@contextmanager
def ranks_of(layout: Layout, settings: Recipe) -> Generator[None]:
    """Have the trainings of a stage in the block run on the recipe's devices, or on those that a launcher started; an
    error of another rank is raised in place of that which it leads to in this one.

    Raise InputError where this rank has other settings or inputs than the first.
    """
    if not isinstance(section_of(settings, layout.stage), Training):
        yield
        return
    from components.training.joining import joined  # here, since it takes a second, and most stages train nothing

    with joined(settings.devices) as ranks:
        try:
            if ranks.size > 1:
                own = fingerprint_in(layout, settings)
                if ranks.first_does(lambda: own) != own:
                    raise InputError(
                        "its params.yaml or what the stage reads is not that of the first rank: bring both nodes to "
                        f"the same commit, and the inputs to the same version (dvc pull {layout.stage}@"
                        f"{layout.recipe} --with-deps, or dvc repro)"
                    )
            yield
        except BaseException as error:
            if told := ranks.failed(error):
                raise told from error
            raise
