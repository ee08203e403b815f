"""The champion gate for classifiers of arrays."""

from components.comparison.classifiers import ClassifierDuel
from components.comparison.duel import HeldOut
from components.compress.classification import read_split
from serving.tasks.array_classification.predictor import SETTINGS, Predictor, load_settings


def make_duel(data: HeldOut, *, metric: str) -> ClassifierDuel:
    """Return the comparison of two classifiers of arrays by `metric`, on the held-out rows."""
    return ClassifierDuel(
        metric=metric,
        labels=load_settings(data.predictor / SETTINGS).labels,
        split=read_split(data.test, "values"),
        slices=None,
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
    )
