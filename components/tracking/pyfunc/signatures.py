"""A bundle's signature as an MLflow model, its inputs and outputs, with an example: one row of a golden request.

The task's endpoint names the columns; the translation into MLflow's types is here.
"""

from pathlib import Path
from typing import Any

from components.plumbing.artifacts import read_json
from serving.bundle import GOLDEN, load_about
from serving.tabular import Column, Table
from serving.tasks import endpoint_of


def signature_of(bundle: Path) -> tuple[Any, Any]:
    """Return a bundle's `ModelSignature` and its input example, with the parameters where there are any."""
    from mlflow.models import ModelSignature

    about = load_about(bundle)
    endpoint = endpoint_of(about.task)
    table = endpoint.table(bundle, endpoint.Limits(**about.limits))
    rows, parameters = endpoint.rows_of(read_json(bundle / GOLDEN)[0]["request"])
    example = example_of(rows)
    signature = ModelSignature(inputs=inputs_of(table), outputs=schema_of(table.outputs), params=params_of(table))
    return signature, (example, dict(parameters)) if table.parameters else example


def example_of(rows: Any) -> Any:
    """Return the first row as an input example."""
    import pandas as pd

    return pd.DataFrame({name: values[:1] for name, values in rows.items()}) if isinstance(rows, dict) else rows[:1]


def inputs_of(table: Table) -> Any:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    if isinstance(table.inputs, int):
        return Schema([TensorSpec(np.dtype(np.float64), (-1, table.inputs))])
    return schema_of(table.inputs)


def schema_of(columns: Any) -> Any:
    from mlflow.types import ColSpec, Schema

    return Schema([ColSpec(kind_of(column), column.name) for column in columns])


def kind_of(column: Column) -> Any:
    """Return a column's MLflow type."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array, Map

    kind: Any = DataType[column.kind]
    for holder in reversed(column.within):
        kind = Map(kind) if holder == "map" else Array(kind)
    return kind


def params_of(table: Table) -> Any:
    """Return the schema of the parameters; None where there are none."""
    from mlflow.types import ParamSchema, ParamSpec

    specs = [
        ParamSpec(one.name, one.kind, one.default, shape=(-1,) if one.is_list else None) for one in table.parameters
    ]
    return ParamSchema(specs) if specs else None
