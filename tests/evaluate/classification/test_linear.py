"""The baseline of texts is the best of the cheap ones, chosen without the test split."""

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from components.evaluate.classification.linear import best_linear_scores, choose, folds_of, sampled
from components.evaluate.classification.split import Split
from components.params import Baseline

SETTINGS = Baseline(folds=3, choice_rows=500, max_rows=1000, seed=0)
FINE = ["a fine film", "fine acting", "truly fine", "a dull film", "dull acting", "truly dull"]
LABELS = np.array([1, 1, 1, 0, 0, 0])
SYLLABLES = ("ba", "ko", "mi", "tu", "re", "sa", "lo", "ne")


def endings(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Words that are new in each text, whose last letters alone tell the class: for characters, not for words."""
    draw = random.Random(seed)
    labels = np.array([draw.randrange(2) for _ in range(count)])
    return ["".join(draw.choices(SYLLABLES, k=6)) + ("ova", "sen")[label] for label in labels], labels


def test_the_baseline_learns_from_the_training_split() -> None:
    asked = ["dull plot", "fine plot"]
    scores, choice = best_linear_scores(
        asked, train=FINE, train_labels=LABELS, num_classes=2, metric="accuracy", settings=SETTINGS
    )
    assert scores.argmax(axis=1).tolist() == [0, 1]
    assert [one["is_chosen"] for one in choice.table()].count(True) == 1


def test_a_class_without_training_rows_is_never_named() -> None:
    scores, _ = best_linear_scores(
        ["fine", "?"], train=[*FINE, "one of its own"], train_labels=np.array([2, 2, 2, 0, 0, 0, 4]), num_classes=5,
        metric="f1_macro", settings=SETTINGS,
    )  # fmt: skip
    assert scores.shape == (2, 5)
    assert np.isfinite(scores).all()
    assert scores[0].argmax() == 2
    assert (scores[:, [1, 3]].max(axis=1) < scores[:, [0, 2, 4]].min(axis=1)).all()


def test_characters_are_chosen_where_words_tell_nothing_and_words_of_two_equals() -> None:
    train, labels = endings(300, seed=0)
    asked, actual = endings(100, seed=1)
    scores, choice = best_linear_scores(
        asked, train=train, train_labels=labels, num_classes=2, metric="accuracy", settings=SETTINGS
    )
    assert choice.candidate.name.endswith("TF-IDF of characters")
    assert (scores.argmax(axis=1) == actual).mean() == 1.0
    words = [f"{'good' if label else 'bad'} {text}" for text, label in zip(train, labels, strict=True)]
    assert choose(words, labels, num_classes=2, metric="accuracy", settings=SETTINGS).candidate.analyzer == "word"


def test_it_is_no_worse_than_a_plain_svm_on_words() -> None:
    draw = random.Random(0)
    topics = [[f"t{topic}w{word}" for word in range(40)] for topic in range(4)]
    shared = [f"w{word}" for word in range(400)]

    def text(label: int) -> str:
        return " ".join(draw.choices(shared, k=12) + draw.choices(topics[label], k=draw.randrange(3)))

    labels = np.array([draw.choices(range(4), weights=(8, 4, 2, 1))[0] for _ in range(700)])
    texts = [text(label) for label in labels]
    train, asked, known, actual = texts[:500], texts[500:], labels[:500], labels[500:]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    plain = LinearSVC(random_state=0).fit(vectorizer.fit_transform(train), known).predict(vectorizer.transform(asked))
    scores, _ = best_linear_scores(
        asked, train=train, train_labels=known, num_classes=4, metric="accuracy", settings=SETTINGS
    )
    assert (scores.argmax(axis=1) == actual).mean() >= (plain == actual).mean() - 0.01


def test_rare_classes_are_balanced_where_the_metric_asks_for_them() -> None:
    draw = random.Random(0)
    labels = np.array([int(number % 20 == 0) for number in range(600)])
    texts = [" ".join(draw.choices("abcdefgh", k=6) + ["xx"] * int(label and draw.random() < 0.7)) for label in labels]
    by_accuracy = choose(texts, labels, num_classes=2, metric="accuracy", settings=SETTINGS)
    by_f1 = choose(texts, labels, num_classes=2, metric="f1_macro", settings=SETTINGS)
    assert not any(one.is_balanced for one in by_accuracy.guesses)
    assert any(one.is_balanced for one in by_f1.guesses)
    assert by_f1.score == max(by_f1.scores.values())


def test_of_many_rows_a_seeded_sample_is_taken_and_no_row_is_judged_by_what_learned_it() -> None:
    assert sampled(10, 20, seed=0).tolist() == list(range(10))
    taken = sampled(1000, 20, seed=0)
    assert len(set(taken.tolist())) == 20
    assert taken.tolist() == sampled(1000, 20, seed=0).tolist()
    fold = folds_of(np.array([0] * 30 + [1] * 9), 3, seed=0)
    assert [np.bincount(fold[:30]).tolist(), np.bincount(fold[30:]).tolist()] == [[10, 10, 10], [3, 3, 3]]
    memorised = [f"word{number}" for number in range(60)]  # each text is its own: what is not seen is chance
    labels = np.random.default_rng(0).integers(2, size=60)
    assert choose(memorised, labels, num_classes=2, metric="accuracy", settings=SETTINGS).score < 0.75


def test_texts_without_words_are_judged_by_their_characters() -> None:
    scores, choice = best_linear_scores(
        ["!", "?"], train=["!", "?"] * 6, train_labels=np.arange(12) % 2, num_classes=2, metric="accuracy",
        settings=SETTINGS,
    )  # fmt: skip
    assert choice.candidate.analyzer == "char_wb"
    assert scores.argmax(axis=1).tolist() == [0, 1]


def test_fixed_baseline_of_before_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"cross-validation now; write baseline: \{folds: 3, .* seed: 0\}"):
        Baseline.model_validate({"analyzer": "word", "ngrams": [1, 2], "C": 10.0})


def test_the_most_frequent_class_is_the_first_of_equals() -> None:
    assert Split(row=np.arange(4), label_id=np.array([2, 0, 2, 1])).most_frequent == 2
    assert Split(row=np.arange(2), label_id=np.array([1, 0])).most_frequent == 0
