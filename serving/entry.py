"""What BentoML imports: the service of the bundle that this file lies in. Nothing else may import it."""

from pathlib import Path

from serving.bundle import BundleError
from serving.service import make_service

try:
    service = make_service(Path(__file__).resolve().parents[1])
except BundleError as error:
    raise SystemExit(str(error)) from error
