"""The seconds of the stages that train nothing, by the rows of a recipe and the speed of its model's forward pass.

What a stage does beside its model was measured once, in whole runs of the project's recipes on 2 quiet cores, and takes
seconds; what grows is the model's work on the splits, of which the forward pass is measured on this machine.
"""

import math

from components.estimate.rows import Counts
from components.params import Recipe, Students, TextClassificationFigures, TrainedTokenizer

START_S = 3.0
"""The seconds in which the process of a stage starts and loads its libraries."""
OWN_S = {
    "ingest": 0.6, "validate": 2.2, "preprocess": 1.0, "pretrain": 1.0, "finetune": 4.0, "evaluate": 5.5,
    "compress": 8.0, "package": 4.5,
}  # fmt: skip
"""The seconds of each stage beside what grows with the rows, and beside its training."""
LOADED_S = 3.0
"""The seconds in which pretrain takes a model that is loaded."""
ROWS_PER_S = {"ingest": 30_000, "validate": 60_000, "preprocess": 20_000}
CHARACTERS_PER_S = 1_000_000
"""The characters per second that preprocess cleans, compares and tokenizes."""
TOKENIZER_S = 4.0
"""The seconds in which a tokenizer is trained."""
FORWARDS_OF_EVALUATE = 1.3
"""The seconds of evaluate for a row of the test split, as so many of the training's forward passes; once more for a
control, and for a row of each check of behaviour."""
FORWARDS_OF_A_CANDIDATE = 2.5
"""The seconds of compress for a candidate and a row of the validation split, likewise."""
FORWARDS_OF_A_STUDENT = 4.0
"""The seconds of a step of a student for a row, likewise: its own three passes, and its teacher's."""
DOCUMENTS_S = {"evaluate": 30.0, "compress": 25.0}
"""The further seconds of a language model, whose baselines are n-grams and a compressor."""
BASELINE_S, BASELINE_CHARACTERS_PER_S = 2.0, 700_000
"""The seconds that the baseline of a classifier of texts takes in any case, and the characters a second."""
BASELINE_NUMBERS_PER_S = 1_000_000
"""The numbers of the training split per second that the baseline of a classifier of arrays takes."""


def stage_seconds(
    recipe: Recipe, counts: Counts, *, num_characters: int, numbers_of_a_row: int, forward_s: float,
    trainings: dict[str, float],
) -> dict[str, float]:  # fmt: skip
    """Return the seconds of each stage of a run of `recipe`, by its name.

    `forward_s` are those of a row in the forward pass of its last training, and `trainings` those of each training by
    the name of its stage.
    """
    found = {stage: START_S + own_s for stage, own_s in OWN_S.items()}
    validation, test = recipe.preprocess.split.shares
    num_rows = counts.num_train / max(0.01, 1 - validation - test)
    for stage, rows_per_s in ROWS_PER_S.items():
        found[stage] += (num_rows + counts.num_unlabelled) / rows_per_s
    found["preprocess"] += num_characters / CHARACTERS_PER_S
    if isinstance(getattr(recipe.preprocess, "tokenizer", None), TrainedTokenizer):
        found["preprocess"] += TOKENIZER_S
    if recipe.pretrain.mode == "load":
        found["pretrain"] += LOADED_S
    for stage, seconds in trainings.items():
        found[stage] += seconds
    num_models = 2 if getattr(recipe.finetune, "control", False) else 1
    found["evaluate"] += FORWARDS_OF_EVALUATE * forward_s * num_rows * test * num_models
    if isinstance(recipe.evaluate, TextClassificationFigures):
        if behaviour := recipe.evaluate.behaviour:
            num_asked = len(behaviour.checks) * min(behaviour.rows, num_rows * test)
            found["evaluate"] += FORWARDS_OF_EVALUATE * forward_s * num_asked
        found["evaluate"] += BASELINE_S + num_characters / BASELINE_CHARACTERS_PER_S
    elif recipe.task == "array_classification":
        found["evaluate"] += counts.num_train * numbers_of_a_row / BASELINE_NUMBERS_PER_S
    elif recipe.task == "text_generation":
        for stage, seconds in DOCUMENTS_S.items():
            found[stage] += seconds
    num_candidates = len(recipe.compress.candidates) * (1 + num_students(recipe.compress.students))
    found["compress"] += FORWARDS_OF_A_CANDIDATE * num_candidates * forward_s * counts.num_validation
    if recipe.compress.students is not None:
        found["compress"] += students_s(
            recipe.compress.students, forward_s * (counts.num_train + counts.num_unlabelled)
        )
    return found


def num_students(students: Students | None) -> int:
    """Return the most students that there may be."""
    if students is None:
        return 0
    return len(students.shapes) + (students.search.trials if students.search else 0)


def students_s(students: Students, epoch_s: float) -> float:
    """Return the seconds of the students' trainings, each at the size of its teacher; `epoch_s` are those of the
    teacher's forward pass over the rows of an epoch."""
    each = FORWARDS_OF_A_STUDENT * epoch_s * students.distillation.epochs
    search = students.search
    if search is None:
        return each * len(students.shapes)
    budget_s = math.inf if search.minutes is None else 60 * search.minutes
    return each * len(students.shapes) + min(each * search.trials, max(each, budget_s))
