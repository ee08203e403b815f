"""The schedules of params.yaml, and the deployments on Prefect's server that belong to them."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from components.plumbing.errors import ParamsError
from components.recipes import PARAMS, load_recipe, load_yaml
from flows.upkeep.times import Due, when

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

ANY = "any"
"""The value of `pool` that stands for any work pool, or the project's own worker."""
TAG = "modelyard"
"""The tag of every deployment of ours."""
DESCRIPTIONS = {
    "retrain": "Train {recipe} again, and promote what is not worse.",
    "monitor": "Compare what {recipe} is asked with what it was made from, and train it again on drift.",
    "sweep": "Search better settings of {recipe}, and tell of them.",
}


def faulty_recipes(root: Path) -> dict[str, ParamsError]:
    """Return the error of each recipe that cannot be read, or whose schedules never come, by its name."""
    found: dict[str, ParamsError] = {}
    for name in load_yaml(root / PARAMS)["recipes"]:
        try:
            for due in schedules_of(root, name):
                when(due)
        except ParamsError as error:
            found[name] = error
    return found


def scheduled(root: Path, *, without: Collection[str] = ()) -> list[Due]:
    """Return every schedule of params.yaml but those of the recipes `without`; ParamsError where
    another recipe has faults."""
    names = load_yaml(root / PARAMS)["recipes"]
    return [due for name in names if name not in without for due in schedules_of(root, name)]


def readable(root: Path) -> list[Due]:
    """Return every schedule of the recipes that have no faults."""
    return scheduled(root, without=faulty_recipes(root))


def schedules_of(root: Path, name: str) -> list[Due]:
    """Return the schedules of one recipe; ParamsError where it has faults."""
    recipe = load_recipe(root, name)
    found: list[Due] = []
    if recipe.schedule is not None:
        found.append(Due("retrain", name, recipe.schedule))
    if recipe.monitoring is not None and recipe.monitoring.schedule is not None:
        found.append(Due("monitor", name, recipe.monitoring.schedule))
    if recipe.sweep is not None and recipe.sweep.schedule is not None:
        found.append(Due("sweep", name, recipe.sweep.schedule))
    return found


def deployment_name(recipe: str, *, pool: str | None) -> str:
    """Return the part of a deployment's name after its flow's, as in `retrain/movie_sentiment`."""
    return recipe if pool is None else f"{recipe}-{pool}"


def own_deployments(client: "SyncPrefectClient", root: Path, *, pool: str | None = ANY) -> list["DeploymentResponse"]:
    """Return the deployments that this project has put on Prefect's server, for this pool (None: for
    its own worker) or for any."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=ours, offset=len(found)):
        found += page
    return [one for one in found if is_own(one, root, pool=one.work_pool_name if pool == ANY else pool)]


def is_own(deployment: "DeploymentResponse", root: Path, *, pool: str | None) -> bool:
    """Return whether a deployment is one that `deployments_of` made for this project, now or before."""
    given = deployment.parameters
    return (
        given.get("root") == str(root)
        and deployment.work_pool_name == pool
        and deployment.name == deployment_name(given.get("recipe", ""), pool=pool)
        and (deployment.entrypoint or "").startswith("flows.")
        and (deployment.entrypoint or "").rpartition(".")[2] in DESCRIPTIONS
    )
