"""The files that compress reads and writes."""

from dataclasses import dataclass
from pathlib import Path

from components.plumbing.artifacts import METRICS, artifact, kept, observations


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    unlabelled: Path = artifact("preprocess/unlabelled.parquet")
    validation: Path = artifact("preprocess/validation.parquet")
    test: Path = artifact("preprocess/test.parquet")
    predictor: Path = artifact("preprocess/predictor/")
    model: Path = artifact("finetune/model/")
    float_results: Path = artifact("evaluate/results/")


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    results: Path = artifact("results/")
    metrics: Path = artifact(METRICS)
    students: Path = kept()
    observations: Path = observations()
