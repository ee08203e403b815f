from flows.pipeline.tables import lost_to_baseline


def test_a_model_that_is_surely_worse_than_its_baseline_is_said_to_be() -> None:
    worse = {"gain": -0.104, "gain_low": -0.157, "gain_high": -0.051, "baseline": "linear SVM on TF-IDF of characters"}
    assert lost_to_baseline(worse).startswith(
        "\nThe linear SVM on TF-IDF of characters is surely better than this model"
    )
    assert lost_to_baseline(worse | {"gain_high": 0.008}) == ""
    assert lost_to_baseline({"bits_per_byte": 1.4}) == ""  # of a language model, whose gate names its own
