"""`python -m components <stage> <recipe>`: one stage of one recipe, as dvc.yaml calls it."""

import argparse
import importlib
import logging
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.artifacts import REPORT, Layout, fingerprint_of, write_json, writing
from components.environment import prepare_environment
from components.errors import GateError, ModelyardError
from components.recipes import load_recipe, section_of, stages
from components.tracking import NullTracker, Tracker

logger = logging.getLogger("components")


def run_stage(root: Path, recipe: str, stage: str, *, tracker: Tracker) -> dict[str, Any]:
    """Run one stage: bind its paths, check its inputs, put its artifact in place. Gives its report.

    A failed gate leaves the report that it judged in `observations/`, and the last good artifact where it was.
    """
    params = section_of(load_recipe(root, recipe), stage)
    module = importlib.import_module(f"components.{stage}")
    layout = Layout(root, recipe, stage)
    inputs = layout.inputs(module.Inputs)
    fingerprint = fingerprint_of(params.model_dump(mode="json"), layout.input_digests(module.Inputs))
    layout.renew_observations()
    with writing(layout.artifact) as folder:
        outputs = layout.outputs(module.Outputs, folder=folder, fingerprint=fingerprint)
        try:
            report: dict[str, Any] = asdict(module.run(params, inputs, outputs, tracker=tracker))
        except GateError as error:
            write_json(layout.observations / REPORT, error.report)
            raise
        write_json(folder / REPORT, report)
    return report


def main(argv: list[str] | None = None) -> int:
    """Run the stage; gives the exit code (0 done, 1 failed, 2 bad input, 3 failed gate, 130 interrupted)."""
    parser = argparse.ArgumentParser(prog="python -m components", description=__doc__)
    parser.add_argument("stage", choices=stages())
    parser.add_argument("recipe", help="an entry of params.yaml, for example movie_sentiment")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    prepare_environment()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run_stage(Path.cwd(), args.recipe, args.stage, tracker=NullTracker())
    except ModelyardError as error:
        if args.debug:
            traceback.print_exc()
        print(f"{args.stage}@{args.recipe}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{args.stage}@{args.recipe}: interrupted; run it again to go on", file=sys.stderr)  # noqa: T201
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
