import pytest

from components.estimate.lengths import longest_text


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "bert"}, None),
    ],
)
def test_positions_before_the_first_token_do_not_count(config: dict[str, object], longest: int | None) -> None:
    assert longest_text(config) == longest
