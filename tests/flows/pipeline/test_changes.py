from typing import Any

import pytest

from flows.pipeline.changes import are_gone


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{"changed outs": {"artifacts/tiny/ingest/card.json": "deleted"}}], True),
        ([{"changed outs": {"a": "deleted", "b": "not in cache"}}], False),
        ([{"changed outs": {"a": "deleted", "b": "modified"}}], False),
        ([{"changed deps": {"params.yaml": "modified"}}, {"changed outs": {"a": "deleted"}}], False),
        ([{"changed outs": {"a": "deleted"}}, "changed command"], False),
        ([{"changed deps": {"a": "deleted"}}], False),
        (["always changed"], False),
        ([], False),
    ],
)
def test_only_deleted_outputs_that_the_cache_has_are_gone(changes: list[Any], expected: bool) -> None:
    assert are_gone(changes) is expected
