"""The report on a generator of images, told in a few rows."""

from components.summary import Data, Row, Summary, beside, named, written


def table(report: Data, _order: int | None) -> tuple[Row, list[Row]]:
    """Return the head and the rows of a table of the generator's figures beside those of real rows and untrained ones.

    There are no rows where there is no report yet.
    """
    if not headline(report):
        return ("", "", "", ""), []
    return (f"{report['num_samples']:,} samples", "model", "real", "untrained"), sample_rows(report)


def headline(report: Data) -> str:
    """Return the key of the figure by which the model is told; empty where there is no report yet."""
    return "test_frechet_distance" if "test_frechet_distance" in report else ""


def sample_rows(report: Data) -> list[Row]:
    """Return the generator's figures beside those of real rows and of an untrained generator, where these have any."""
    return [
        beside(named("test_frechet_distance"), *(written("frechet_distance", report[key]) for key in
               ("test_frechet_distance", "real_frechet_distance"))),
        beside("to training and test rows", *(written("frechet_distance", report[key]) for key in
               ("frechet_distance", "real_frechet_distance", "untrained_frechet_distance"))),
        beside("to the nearest training row", *(f"{report[key]:.1f}" for key in
               ("nearest_distance", "real_nearest_distance"))),
        ("classes present", f"{report['num_classes_present']} of {report['num_classes']}", "", ""),
        (f"largest share, of {report['max_class']}", f"{report['max_class_share']:.3f}", "", ""),
        beside("diversity", f"{report['diversity']:.3f}", "1.000"),
    ]  # fmt: skip


SUMMARY = Summary(table, headline)
