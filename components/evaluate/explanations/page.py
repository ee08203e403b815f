"""The explanations as a part of a report's page."""

from collections.abc import Sequence
from html import escape

from components.evaluate.explanations.faithfulness import KINDS, RANDOM
from components.evaluate.explanations.patches import draw_occlusion, title_of
from components.evaluate.explanations.plot import draw_curves
from components.evaluate.explanations.study import METHODS, OF_RANDOM_WEIGHTS, Interval
from components.evaluate.explanations.tables import Found, Piece, ShownImage, ShownText
from components.plumbing.pages import Part, bullets, span, table, themed
from components.plumbing.plots import read_as, style, svg_of

FOR, AGAINST = "42, 112, 70", "192, 57, 43"
"""The colours of what speaks for the answer and against it, as red, green and blue; seen through, on light and dark."""
FAINTEST = 0.05
"""The least score that fills a colour whole, so that a text without strong words stays pale."""
STRONGEST = 0.6


def part(found: Found) -> Part:
    """Return the explanations for a report: what the figures say, the figures, the rows, and the words by class."""
    unsure = [line for line in found["verdict"] if "DOES NOT" in line or "cannot be told" in line]
    sure = [line for line in found["verdict"] if line not in unsure]
    with style(in_page=True):
        curves = read_as(themed(svg_of(draw_curves(found))), curves_in_words(found))
    body = bullets(unsure, "warning") + bullets(sure, "")
    body += f'<p class="note">{escape(how_measured(found))}</p>\n{figures_of(found)}\n'
    body += f'<div class="pictures">{curves}</div>\n'
    if found["texts"]:
        body += f"<h3>Texts</h3>\n{legend()}\n" + "".join(shown(text) for text in found["texts"])
    if any(found["words"].values()):
        body += f"<h3>Words by class</h3>\n{words_of(found)}\n"
    if found["images"]:
        with style(in_page=True):
            body += f"<h3>Images</h3>\n{legend()}\n{read_as(svg_of(draw_occlusion(found)), images_in_words(found))}\n"
    return Part(title="Explanations", body=body)


def how_measured(found: Found) -> str:
    """Return what the figures mean, in a few sentences."""
    shares = ", ".join(f"{100 * share:g}" for share in found["shares"])
    return (
        f"{found['num_rows']} rows of the test split, asked of the model's int8 export, which is what is served where "
        f"compress chooses int8. The score is the {found['score']}. Comprehensiveness is what it loses without the "
        f"strongest {found['parts']}, sufficiency what those alone give back: the mean over {shares} % of a row's "
        f"{found['parts']}, as a share of what the whole row adds to the score of an empty one. More is better in "
        f"both; above 1, the score falls below that of an empty row, or rises above that of the whole one. Intervals "
        f"are of {found['confidence']:.0%}."
    )


def curves_in_words(found: Found) -> str:
    """Return what the drawing of the curves says."""
    shares = ", ".join(f"{100 * share:g}" for share in found["shares"])
    parts = found["parts"]
    what = {
        "comprehensiveness": f"what the score loses without the strongest {parts}",
        "sufficiency": f"what the strongest {parts} alone give back",
    }
    told = "; ".join(
        f"{what[kind]}: "
        + ", ".join(f"{called(order)} {numbers(curves[kind])}" for order, curves in found["curves"].items())
        for kind in KINDS
    )
    return f"Two plots over {shares} % of a row's {parts}, as shares of the score's room. {told[:1].upper()}{told[1:]}."


def numbers(values: Sequence[float | None]) -> str:
    return " ".join("not defined" if value is None else f"{value:.2f}" for value in values)


def images_in_words(found: Found) -> str:
    """Return what the drawing of the images says: each one's answer, and the patch that speaks the most for it."""
    told = "; ".join(f"{title_of(one)}, {strongest_patch(one)}" for one in found["images"])
    return (
        "Images with their patches in green where they speak for the answer and in red where against it, each with its "
        f"answer, its label where that is another, and its score: {told}."
    )


def strongest_patch(one: ShownImage) -> str:
    value, down, across = max(
        (value, -row, -column) for row, line in enumerate(one["effects"]) for column, value in enumerate(line)
    )
    if value <= 0:
        return "for which no patch speaks"
    return f"most of all for the patch {1 - down} from the top and {1 - across} from the left ({value:+.2f})"


def figures_of(found: Found) -> str:
    """Return the table of every order's figures."""
    rows = [
        [called(order), *(with_interval(figures, kind) for kind in KINDS)]
        for order, figures in found["orders"].items()
    ]  # fmt: skip
    if found["agreement"]:
        rows.append(["Kendall's tau between the methods", with_interval(found["agreement"], "tau"), ""])
    return table(["Order", *(kind.capitalize() for kind in KINDS)], rows)


def called(order: str) -> str:
    if order == RANDOM:
        return "a random order"
    name = METHODS[order.removesuffix(OF_RANDOM_WEIGHTS)]
    return f"{name} on random weights" if order.endswith(OF_RANDOM_WEIGHTS) else name


def with_interval(figures: Interval, name: str) -> str:
    value, low, high = (figures[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return "not defined"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def legend() -> str:
    return (
        f'<p class="note"><span style="background: rgba({FOR}, {STRONGEST})">speaks for the answer</span> '
        f'<span style="background: rgba({AGAINST}, {STRONGEST})">speaks against it</span></p>'
    )


def shown(text: ShownText) -> str:
    """Return a text with its words marked, once for each method."""
    is_right = text["label"] == text["answer"]
    said = f"row {text['row']}: {text['answer']} ({text['score']:.3f})"
    head = escape(said) if is_right else f"{escape(said)}, {span('but it is ' + text['label'], 'warning')}"
    names = list(text["pieces"][0]["weights"]) if text["pieces"] else []
    marked_texts = "".join(
        f'<br><small class="note">{escape(METHODS[name])}</small> '
        f"<bdi>{marked(text['text'], text['pieces'], name)}</bdi>"
        for name in names
    )
    return f"<p><b>{head}</b>{marked_texts}</p>\n"


def marked(text: str, pieces: Sequence[Piece], method: str) -> str:
    """Return a text as HTML, each piece with a background, the stronger its weight the more of it."""
    strongest = max(FAINTEST, *(abs(piece["weights"][method]) for piece in pieces))
    found: list[str] = []
    done = 0
    for piece in pieces:
        weight = piece["weights"][method]
        opacity = STRONGEST * abs(weight) / strongest
        words = escape(text[piece["start"] : piece["end"]])
        found.append(escape(text[done : piece["start"]]))
        if opacity < 0.05:
            found.append(words)
        else:
            colour = FOR if weight > 0 else AGAINST
            found.append(
                f'<span title="{weight:+.3f}" style="background: rgba({colour}, {opacity:.2f})">{words}</span>'
            )
        done = piece["end"]
    return "".join([*found, escape(text[done:])])


def words_of(found: Found) -> str:
    """Return the table of the words that speak the most for each class."""
    rows = [
        [label, word["word"], f"{word['effect']:+.3f}", f"{word['count']:,}"]
        for label, words in found["words"].items()
        for word in words
    ]
    return table(["Class", "Word", "Adds to its score, on average", "Occurs"], rows)
