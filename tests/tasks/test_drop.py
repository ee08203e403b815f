import pytest

from components.tasks import task_of


@pytest.mark.parametrize(
    ("task", "float_quality", "quality", "drop"),
    [
        ("text_classification", 0.86, 0.85, 0.01),
        ("array_classification", 0.85, 0.86, -0.01),
        ("text_generation", 2.0, 2.25, 0.25),
        ("image_generation", 20.0, 21.0, 0.05),
        ("image_generation", 20.0, 19.0, -0.05),
        ("image_generation", 0.0, 1.5, 1.5),
    ],
)
def test_drop_is_above_zero_where_the_model_is_worse(
    task: str, float_quality: float, quality: float, drop: float
) -> None:
    assert task_of(task).drop(float_quality, quality) == pytest.approx(drop)
