"""The answers of a bundle as rows of a table, in plain data, for whoever loads it without its service, as MLflow
does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["string", "long", "double", "boolean"]


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    within: tuple[Literal["array", "map"], ...] = ()
    """The containers of one row's values, the outermost first; a map has strings as its keys."""


@dataclass(frozen=True)
class Parameter:
    """A setting that may be given beside the rows."""

    name: str
    kind: Kind
    default: Any
    is_list: bool = False


@dataclass(frozen=True)
class Table:
    """The columns that the model takes and gives for each row."""

    inputs: Sequence[Column] | int
    """The columns; or, where each row is an array, the number of values in it."""
    outputs: Sequence[Column]
    parameters: Sequence[Parameter] = ()


Rows = Mapping[str, Sequence[Any]] | NDArray[np.float64]
"""The values of each column by its name, or the arrays (N, V)."""

Answering = Callable[[Any, Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""A function from rows and parameters to one dictionary of output values for each row."""

SCORED = (Column("label", "string"), Column("scores", "double", ("map",)))
"""The columns that classifiers give for a row, as in serving/predictors/scores.py."""

ABSTAINING = (*SCORED, Column("abstain", "boolean"))
"""The columns of classifiers that may say that they do not know."""
