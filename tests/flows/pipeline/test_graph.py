from contextlib import nullcontext as does_not_raise

import pytest

from components.plumbing.errors import InputError
from flows.pipeline.graph import Stage, check_reached

STAGES = [Stage(name, "tiny", "", (), 0, 0.0, None) for name in ("ingest", "validate", "preprocess")]


def test_stage_that_would_not_be_reached_cannot_be_forced() -> None:
    with pytest.raises(InputError, match="--force preprocess: it comes after --until validate, so it would not run"):
        check_reached(("ingest", "preprocess"), "validate", STAGES)


@pytest.mark.parametrize("until", [None, "validate", "preprocess"])
def test_stage_that_is_reached_can_be_forced(until: str | None) -> None:
    with does_not_raise():
        check_reached(("ingest", "validate"), until, STAGES)
