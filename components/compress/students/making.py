"""The making of a student: cut out of the fine-tuned network, trained to answer as it does, and kept.

Below `checkpoints` each student has a folder, named by the digest of all that its weights hang on: its shape, the
settings of its training, the teacher's files and the rows. A student that is finished lies there and is loaded, and one
that was stopped carries on:

    cut.json           what of the teacher it keeps
    training/          the checkpoints of its training, until it is finished
    model.safetensors  its weights
    finished.json      the sha256 of the two files
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from components.compress.students.cutting import Cut
from components.compress.students.importance import NoScales, RowScales, Scales
from components.fitting import Training, fit
from components.models.facts import Facts, read_facts
from components.models.storage import FAMILY, WEIGHTS, fill, load, tensors_of
from components.objectives.classification import of_arrays, of_texts
from components.objectives.distillation import STAGE, Pair
from components.params import Distillation, Shape, ShapeSearch
from components.plumbing.artifacts import fault_of_recorded, files_of, read_json, sha256_of, write_json
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.checkpoint import write_tensors
from components.training.objective import Data

logger = logging.getLogger(__name__)

CUT, FINISHED = "cut.json", "student.json"
COMPONENTS = Path(__file__).parents[2]
CODE = ("compress/students/*.py", "objectives/classification.py", "objectives/distillation.py", "training/*.py")
"""The files, below COMPONENTS, on which a student's weights hang."""
ROWS_WEIGHED = 256
"""The least number of training rows by which layers, units and heads are weighed."""
WEIGHED_TOGETHER = 64


@dataclass(frozen=True)
class Carving:
    """The functions that cut the networks of a family."""

    shaped: Callable[[Path, Facts], nn.Module]
    """A function of a model's folder and the facts that makes a network of its shapes, with random weights."""
    cut_of: Callable[[Shape, nn.Module, Scales], Cut]
    carved: Callable[[nn.Module, Cut], nn.Module]
    freeze: Callable[[nn.Module, tuple[str, ...]], None]
    num_layers: Callable[[nn.Module], int]
    has_heads: bool


def _encoder() -> Carving:
    from components.compress.students import encoder
    from components.models.encoder.network import from_config

    freeze = partial(encoder.restrict, setting=f"{STAGE}.freeze")
    return Carving(from_config, encoder.cut_of, encoder.carved, freeze, encoder.num_layers, has_heads=True)


def _mlp() -> Carving:
    from components.compress.students import perceptron

    freeze = partial(perceptron.restrict, setting=f"{STAGE}.freeze")
    return Carving(
        perceptron.shaped, perceptron.cut_of, perceptron.carved, freeze, perceptron.num_layers, has_heads=False
    )


CARVINGS: dict[str, Callable[[], Carving]] = {"encoder": _encoder, "mlp": _mlp}


def make_student(
    shape: Shape, distillation: Distillation, *, teacher: Path, data: Data, checkpoints: Path, tracker: Tracker
) -> nn.Module:
    """Return the student of this shape, trained by the model in the folder `teacher`, on the CPU in evaluation mode.

    `data` names the splits of preprocess; `unlabelled` may hold no rows. Raise InputError where the family has no
    students, where a setting cannot take effect on it, or where the training does not fit into memory, and
    TrainingError where it cannot go on.
    """
    carving = carving_of(teacher)
    place = checkpoints / key_of(shape, distillation, teacher=teacher, data=data)
    if (place / FINISHED).is_file():
        fault = fault_of_recorded(place, read_json(place / FINISHED))
        if fault is None:
            os.utime(place)  # asked for last
            shutil.rmtree(place / "training", ignore_errors=True)
            return finished(place, carving, teacher=teacher)
        logger.warning("%s: the student '%s' is trained again", fault, shape.name)
        shutil.rmtree(place)
    facts = read_facts(data.predictor)
    cut = known_cut(place, shape, carving, distillation, facts, teacher=teacher, data=data)
    work = Training(
        distillation, facts, data,
        network=lambda: pair(carving, cut, distillation, make=lambda: carving.shaped(teacher, facts)),
        first=lambda: pair(carving, cut, distillation, make=lambda: load(teacher)),
        stage=STAGE, title=f"student {shape.name}", checkpoints=place / "training",
    )  # fmt: skip
    student = fit(work, tracker=tracker).model
    write_tensors(place / WEIGHTS, tensors_of(student))
    write_json(place / FINISHED, {name: sha256_of(place / name) for name in (CUT, WEIGHTS)})
    shutil.rmtree(place / "training", ignore_errors=True)
    return student.float().eval()


def carving_of(teacher: Path) -> Carving:
    """Return the functions that cut the network in a folder; raise InputError where its family has no students."""
    family = str(read_json(teacher / FAMILY)["family"])
    if family not in CARVINGS:
        raise InputError(
            f"compress.students is for the families {', '.join(CARVINGS)}, and the fine-tuned model is of the family "
            f"'{family}'; leave out compress.students"
        )
    return CARVINGS[family]()


def key_of(shape: Shape, distillation: Distillation, *, teacher: Path, data: Data) -> str:
    """Return the digest of all that a student's weights hang on, which is the name of its folder."""
    rows = [path for path in (data.train, data.validation, data.unlabelled) if path is not None]
    told = {
        "shape": shape.model_dump(mode="json"),
        "distillation": distillation.model_dump(mode="json", exclude={"checkpoints"}),
        "teacher": files_of(teacher),
        "rows": [sha256_of(path) for path in rows],
        "predictor": files_of(data.predictor),
        "code": {path.relative_to(COMPONENTS).as_posix(): sha256_of(path) for path in code()},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def code() -> list[Path]:
    """Return the files by which a student is cut and trained: a change of one makes another student."""
    found = [file for pattern in CODE for file in COMPONENTS.glob(pattern)]
    return sorted(found)


def check_space(search: ShapeSearch, *, teacher: Path) -> None:
    """Raise InputError where a value of a search asks for what the network in the folder `teacher` does not have."""
    carving, model = carving_of(teacher), load(teacher)
    for number in search.layers or ():
        carving.cut_of(Shape(layers=number, feed_forward=1.0, heads=1.0, rank=None), model, NoScales())
    if not carving.has_heads and search.heads != (1.0,):
        carving.cut_of(Shape(layers=None, feed_forward=1.0, heads=min(search.heads), rank=None), model, NoScales())


def finished(place: Path, carving: Carving, *, teacher: Path) -> nn.Module:
    """Return the student that lies in its folder."""
    student = carving.carved(load(teacher), read_cut(place))
    fill(student, place / WEIGHTS)
    return student.eval()


def known_cut(
    place: Path, shape: Shape, carving: Carving, distillation: Distillation, facts: Facts, *, teacher: Path, data: Data
) -> Cut:
    """Return what a student keeps, as it was decided before it was stopped, or now."""
    if not (place / CUT).is_file():
        model = load(teacher)
        cut = carving.cut_of(shape, model, RowScales(model, weighed_rows(distillation, facts, data)))
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / CUT, asdict(cut))
    return read_cut(place)


def read_cut(place: Path) -> Cut:
    """Read what a student keeps from its folder."""
    found: dict[str, Any] = read_json(place / CUT)
    units, heads = (tuple(map(tuple, found[name])) for name in ("units", "heads"))
    return Cut(layers=tuple(found["layers"]), units=units, heads=heads, rank=found["rank"])


def weighed_rows(params: Distillation, facts: Facts, data: Data) -> list[Any]:
    """Return the batches of the training split that the first epoch begins with, in small parts."""
    labelled = replace(data, unlabelled=None)
    task = of_arrays(params, facts, labelled, augment=None) if facts.shape else of_texts(params, facts, labelled)
    found: list[Any] = []
    for batch in task.batches(0, 0):
        found += batch.parts(WEIGHED_TOGETHER)
        if sum(len(part.row) for part in found) >= ROWS_WEIGHED:
            break
    return found


def pair(carving: Carving, cut: Cut, distillation: Distillation, *, make: Callable[[], nn.Module]) -> Pair:
    """Return the student that is to be trained, with its teacher."""
    student = carving.carved(make(), cut)
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    carving.freeze(student, distillation.freeze)
    dropouts = [part for part in student.modules() if isinstance(part, nn.Dropout)]
    if distillation.dropout and not dropouts:
        raise InputError(f"{STAGE}.dropout: the network drops nothing out anywhere; set it to 0")
    for part in dropouts:
        part.p = distillation.dropout
    return Pair(student, make(), kept=cut.layers)
