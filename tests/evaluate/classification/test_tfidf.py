import numpy as np
import pytest

from components.evaluate.classification.split import Split
from components.evaluate.classification.tfidf import tfidf_scores
from components.params import Baseline
from components.plumbing.errors import InputError

WORDS = Baseline(analyzer="word", ngrams=(1, 2), C=10.0)
TRAIN = ["a fine film", "fine acting", "truly fine", "a dull film", "dull acting", "truly dull"]
LABELS = np.array([1, 1, 1, 0, 0, 0])


def test_the_baseline_learns_from_the_training_split() -> None:
    scores = tfidf_scores(["dull plot", "fine plot"], train=TRAIN, train_labels=LABELS, num_classes=2, settings=WORDS)
    assert scores.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_a_class_without_training_rows_scores_nothing() -> None:
    scores = tfidf_scores(["fine"], train=TRAIN, train_labels=2 * LABELS, num_classes=4, settings=WORDS)
    assert scores.shape == (1, 4)
    assert scores[0, [1, 3]].tolist() == [0, 0]
    assert scores.argmax() == 2


def test_characters_serve_texts_without_spaces() -> None:
    settings = Baseline(analyzer="char", ngrams=(1, 2), C=10.0)
    train = ["很好看", "好看的书", "太难看了", "难看"]
    scores = tfidf_scores(
        ["真好看", "真难看"], train=train, train_labels=np.array([1, 1, 0, 0]), num_classes=2, settings=settings
    )
    assert scores.argmax(axis=1).tolist() == [1, 0]


def test_texts_without_words_are_refused_with_advice() -> None:
    with pytest.raises(InputError, match=r"analyzer 'word'.*set evaluate.baseline.analyzer to 'char'"):
        tfidf_scores(["!"], train=["!", "?"], train_labels=np.array([0, 1]), num_classes=2, settings=WORDS)


def test_the_most_frequent_class_is_the_first_of_equals() -> None:
    assert Split(row=np.arange(4), label_id=np.array([2, 0, 2, 1])).most_frequent == 2
    assert Split(row=np.arange(2), label_id=np.array([1, 0])).most_frequent == 0
