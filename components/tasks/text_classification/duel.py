"""The champion gate for classifiers of texts."""

from components.comparison.classifiers import ClassifierDuel
from components.comparison.duel import HeldOut
from components.compress.classification import read_split
from components.evaluate.classification.slices import read_slices
from serving.tasks.text_classification.predictor import SETTINGS, Predictor, load_settings


def make_duel(data: HeldOut, *, metric: str) -> ClassifierDuel:
    """Return the comparison of two classifiers of texts by `metric`, on the held-out rows and their slices."""
    return ClassifierDuel(
        metric=metric,
        labels=load_settings(data.predictor / SETTINGS).labels,
        split=read_split(data.test, "text"),
        slices=read_slices(data.test),
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
    )
