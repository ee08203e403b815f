"""What a bundle answers as rows of a table, for whoever loads it without its service, as MLflow does: plain data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["string", "long", "double"]


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    within: tuple[Literal["array", "map"], ...] = ()
    """What holds the values of one row, the outermost first; a map has strings as its keys."""


@dataclass(frozen=True)
class Parameter:
    """What may be given beside the rows."""

    name: str
    kind: Kind
    default: Any
    is_list: bool = False


@dataclass(frozen=True)
class Table:
    """What is taken and given, row by row."""

    inputs: Sequence[Column] | int
    """The columns; or, where each row is an array, how many numbers it has."""
    outputs: Sequence[Column]
    parameters: Sequence[Parameter] = ()


Rows = Mapping[str, Sequence[Any]] | NDArray[np.float64]
"""The values of each column, or the arrays (N, V)."""

Answering = Callable[[Any, Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""Rows and parameters → one row of answers for each."""

SCORED = (Column("label", "string"), Column("scores", "double", ("map",)))
"""What classifiers say of a row: serving/predictors/scores.py."""
