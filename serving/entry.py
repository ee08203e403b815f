"""The module that BentoML imports: the service of the bundle that holds this file. Nothing else may import it."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
# BentoML puts this folder before all others that Python looks in, and a server's process begins with the folder that it
# was started in. A file there must not be taken for a library, so both come last, before anything else is imported.
OWN = {str(FOLDER), str(FOLDER.parent)}
sys.path = [*(place for place in sys.path if place not in OWN), *(place for place in sys.path if place in OWN)]

from serving.bundle import BundleError, verify_bento  # noqa: E402

try:
    verify_bento(FOLDER)
    from serving.starting import start

    service = start(FOLDER)
except BundleError as error:
    raise SystemExit(f"refusing to start: {error}") from error
