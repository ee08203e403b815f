"""What BentoML imports: the service of the bundle that this file lies in. Nothing else may import it."""

import sys
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer

from serving.bundle import BundleError
from serving.keys import KeysError, check_address
from serving.service import make_service

try:
    check_address(sys.argv, configured=BentoMLContainer.http.host.get())
    service = make_service(Path(__file__).resolve().parents[1])
except (BundleError, KeysError) as error:
    raise SystemExit(str(error)) from error
