from pathlib import Path

import numpy as np
import pytest
import torch

from components.plumbing.errors import ArtifactError
from components.tasks.image_generation.judging.classifier import (
    FILE,
    judge_images,
    load_classifier,
    save_classifier,
    train_classifier,
)
from tests.tiny_images import LABELS, SHAPE, tiny_images

TRAIN, TEST = tiny_images(200, seed=0), tiny_images(80, seed=1)


def test_classifier_learns_and_a_seed_gives_the_same_one() -> None:
    one, two = (train_classifier(*TRAIN, num_labels=4, epochs=12, seed=3) for _ in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    features, predicted = judge_images(one, TEST[0])
    assert features.shape == (80, 64)
    assert (predicted == TEST[1]).mean() > 0.9


def test_training_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train_classifier(*TRAIN, num_labels=4, epochs=1, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_classifier_comes_back_from_disk(tmp_path: Path) -> None:
    classifier = train_classifier(*TRAIN, num_labels=4, epochs=1, seed=0)
    save_classifier(classifier, tmp_path)
    loaded = load_classifier(tmp_path, shape=SHAPE, num_labels=len(LABELS))
    assert np.array_equal(judge_images(loaded, TEST[0])[0], judge_images(classifier, TEST[0])[0])
    with pytest.raises(ArtifactError, match=r"is no classifier of 5 labels and images of \[8, 8\]"):
        load_classifier(tmp_path, shape=SHAPE, num_labels=5)
    (tmp_path / FILE).write_bytes(b"not this")
    with pytest.raises(ArtifactError, match="run evaluate again"):
        load_classifier(tmp_path, shape=SHAPE, num_labels=4)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (28, 28)])
def test_any_shape_is_taken(shape: tuple[int, int]) -> None:
    images = np.zeros((4, *shape), np.uint8)
    classifier = train_classifier(images, np.array([0, 1, 0, 1]), num_labels=2, epochs=1, seed=0)
    assert judge_images(classifier, images)[0].shape == (4, 64)
