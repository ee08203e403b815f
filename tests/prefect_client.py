"""Questions of the tests to Prefect's server."""

from typing import Any

from prefect.client.base import PrefectHttpxSyncClient


def prefect_client(api: str) -> PrefectHttpxSyncClient:
    """A client that asks again where a busy SQLite file makes the server say 503, as Prefect's own does."""
    return PrefectHttpxSyncClient(base_url=api, timeout=60, raise_on_all_errors=False)


def found_by_prefect(api: str, kind: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """What a filter of Prefect's finds, of a kind such as `artifacts`."""
    with prefect_client(api) as client:
        return client.post(f"/{kind}/filter", json=given).raise_for_status().json()
