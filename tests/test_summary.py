from components.summary import CLASSIFIER, Headline, headline, quality_rows, seconds_rows, size_rows
from components.tasks import task_of


def test_figures_with_a_baseline_are_shown_beside_it() -> None:
    report = {"accuracy": 0.87, "accuracy_low": 0.85, "accuracy_high": 0.89, "baseline_accuracy": 0.8, "num_test": 5}
    interval = {"ece": 0.1, "ece_low": 0.0, "ece_high": 0.2}
    assert quality_rows(report | interval) == [("accuracy", "0.870", "0.850 to 0.890", "0.800")]
    assert quality_rows(interval) == [("ece", "0.100", "0.000 to 0.200", "")]
    assert quality_rows({}) == []


def test_speeds_are_shown_where_they_were_measured() -> None:
    report = {"candidate": "pruned_int8 0.3", "float_size_bytes": 10_000_000, "size_bytes": 2_500_000}
    speeds = {
        "torch fp32": {"rows_per_s": 100.0, "speedup": 1.0, "p50_ms": 9.0},
        "pruned_int8 0.3": {"rows_per_s": 420.0, "speedup": 4.2, "p50_ms": 2.0},
    }
    size, rate, latency = size_rows(report, speeds)
    assert size == ("size", "10.0 MB", "2.5 MB", "0.25 times")
    assert rate == ("rows/s", "100", "420", "4.2 times")
    assert latency == ("one request, p50", "9.0 ms", "2.0 ms", "")
    assert size_rows(report, None) == [size]


def with_interval(**figures: float) -> dict[str, float]:
    return {
        f"{name}{end}": value + more
        for name, value in figures.items()
        for end, more in (("", 0.0), ("_low", -0.1), ("_high", 0.1))
    }


def test_gains_follow_the_figures() -> None:
    figures = with_interval(accuracy=0.8, gain=0.05, control_accuracy=0.7, pretraining_gain=0.1, roc_auc=0.9)
    rows = quality_rows(figures | {"baseline_accuracy": 0.75, "gate_metric": "accuracy"})
    assert rows == [
        ("accuracy", "0.800", "0.700 to 0.900", "0.750"),
        ("accuracy above the baseline", "0.050", "-0.050 to 0.150", ""),
        ("accuracy gained by pretraining", "0.100", "0.000 to 0.200", ""),
        ("accuracy without pretraining", "0.700", "0.600 to 0.800", ""),
    ]


def test_language_model_stands_beside_each_system() -> None:
    report = with_interval(bits_per_byte=1.4, gain_byte_ngram=0.2, gain_token_ngram=-0.1, gain_xz=0.7) | {
        "byte_ngram_bits_per_byte": 1.6, "token_ngram_bits_per_byte": 1.3, "xz_bits_per_byte": 2.1,
        "perplexity": 79.74,
    }  # fmt: skip
    heads, rows = task_of("text_generation").summary().table(report | {"confidence": 0.9}, 5)
    assert heads == ("on the test split", "model", "90% interval", "baseline")
    assert rows == [
        ("bits per byte", "1.400", "1.300 to 1.500", "1.600 (byte 5-gram)"),
        ("below byte 5-gram", "0.200", "0.100 to 0.300", "1.600"),
        ("below token 5-gram", "-0.100", "-0.200 to 0.000", "1.300"),
        ("below xz -9", "0.700", "0.600 to 0.800", "2.100"),
        ("perplexity of a token", "79.7", "", ""),
    ]


def test_generator_stands_beside_real_rows_and_an_untrained_one() -> None:
    report = {
        "num_samples": 5000, "frechet_distance": 32.637, "real_frechet_distance": 6.04, "nearest_distance": 50.0,
        "untrained_frechet_distance": 1502.2, "test_frechet_distance": 40.1, "real_nearest_distance": 45.0,
        "num_classes": 10, "num_classes_present": 9, "max_class": "3", "max_class_share": 0.1146, "diversity": 0.98,
    }  # fmt: skip
    heads, rows = task_of("image_generation").summary().table(report, None)
    assert heads == ("5,000 samples", "model", "real", "untrained")
    assert rows[0] == ("Fréchet distance to the test split", "40.1", "6.0", "")
    assert rows[1] == ("to training and test rows", "32.6", "6.0", "1,502.2")
    assert ("classes present", "9 of 10", "", "") in rows
    assert ("largest share, of 3", "0.115", "", "") in rows


def test_small_models_show_two_digits() -> None:
    report = {"candidate": "int8", "float_size_bytes": 235_000, "size_bytes": 64_500}
    speeds = {
        "torch fp32": {"rows_per_s": 3213.4, "speedup": 1.0, "p50_ms": 0.0912},
        "int8": {"rows_per_s": 14128.0, "speedup": 4.4, "p50_ms": 0.0431},
    }
    size, rate, latency = size_rows(report, speeds)
    assert size[1:3] == ("0.23 MB", "0.065 MB")
    assert rate[1:3] == ("3,213", "14,128")
    assert latency[1:3] == ("0.091 ms", "0.043 ms")


def test_headline_is_the_test_splits_figure_of_both_models() -> None:
    figures = with_interval(accuracy=0.9731) | {"gate_metric": "accuracy", "baseline_accuracy": 0.9}
    compressed = {"metric": "accuracy", "quality": 0.9738, "float_quality": 0.9731}
    assert headline(CLASSIFIER, {}, {}) == Headline("", "", "")
    assert headline(CLASSIFIER, figures, {}) == Headline("accuracy", "accuracy 0.973", "")
    assert headline(CLASSIFIER, figures, compressed) == Headline("accuracy", "accuracy 0.973", "0.974")
    # Those of a generator are both distances to the test split; those of a language model are read in two ways.
    distances = {"frechet_distance": 35.06, "test_frechet_distance": 42.774, "num_samples": 5000}
    compressed = {"metric": "frechet_distance", "quality": 42.768, "float_quality": 42.774}
    assert headline(task_of("image_generation").summary(), distances, compressed) == Headline(
        "Fréchet distance", "Fréchet distance 42.8", "42.8"
    )
    bits = {"metric": "bits_per_byte", "quality": 1.4503, "float_quality": 1.4502}
    assert headline(task_of("text_generation").summary(), with_interval(bits_per_byte=1.448), bits).served == "+0.0001"


def test_seconds_add_up_as_they_are_shown() -> None:
    stages = [{"seconds": 0.26}, {"seconds": 0.26}, {"seconds": 1.04}]
    each, rest, total = seconds_rows(stages, 2.06)
    assert (each, rest, total) == (["0.3", "0.3", "1.0"], "0.5", "2.1")
    assert seconds_rows(stages, 1.0)[1:] == ("0.0", "1.6")  # never less than its parts
