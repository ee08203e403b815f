"""The report on a language model, told in a few rows."""

from components.summary import Data, Row, Summary, figure, heads_with_interval, written


def table(report: Data, order: int | None) -> tuple[Row, list[Row]]:
    """Return the head and the rows of a table of bits per byte beside each other system's.

    There are no rows where there is no report yet.
    """
    return heads_with_interval(report), language_rows(report, order=order) if headline(report) else []


def headline(report: Data) -> str:
    """Return the key of the figure by which the model is told; empty where there is no report yet."""
    return "bits_per_byte" if "bits_per_byte" in report else ""


def language_rows(report: Data, *, order: int | None) -> list[Row]:
    """Return the rows of bits per byte, of how far they lie below each other system's, and of perplexity."""
    grams = f"{order}-gram" if order else "n-gram"
    systems = {"byte_ngram": f"byte {grams}", "token_ngram": f"token {grams}", "xz": "xz -9"}
    rows = [
        figure(report, "bits_per_byte", baseline=f"{report['byte_ngram_bits_per_byte']:.3f} ({systems['byte_ngram']})")
    ]
    for key, name in systems.items():
        rows.append(
            figure(report, f"gain_{key}", name=f"below {name}", baseline=f"{report[f'{key}_bits_per_byte']:.3f}")
        )
    return [*rows, ("perplexity of a token", written("perplexity", report["perplexity"]), "", "")]


SUMMARY = Summary(table, headline)
