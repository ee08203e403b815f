"""A part that is only looked for, left out with its reason where the rows do not suffice for it.

Rows change between two trainings: one that nobody watches must not stop for the sake of what only a person looks at.
"""

import logging
from collections.abc import Callable
from html import escape

from components.plumbing.pages import Part, span

logger = logging.getLogger(__name__)


class UnfitError(Exception):
    """The rows do not suffice for a setting; the message says which, and what would fit."""


def part_or_reason(title: str, look: Callable[[], Part]) -> Part:
    """Return the part of the page that `look` makes, or, below the same title, why there is none."""
    try:
        return look()
    except UnfitError as error:
        logger.warning("%s: left out, as %s", title, error)
        return Part(title, f"<p>{span('Left out', 'warning')}, as {escape(str(error))}.</p>\n")
