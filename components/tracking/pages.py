"""MLflow's own server, whose pages open as model training in a browser in which nobody has chosen otherwise.

MLflow 3.17 opens every page for GenAI, whatever kind an experiment says it is of, but for an address that says
otherwise (`MODEL_TRAINING`) and a browser that remembers a choice. `mlflow server --app-name modelyard` finds `app` by
the entry point in pyproject.toml.
"""

from pathlib import Path

from mlflow.server import app as routes_of_flask
from mlflow.server.fastapi_app import app
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

REMEMBERED = "mlflow.workflowType_v1"
"""The name by which MLflow's pages keep the choice in the browser."""
CHOICE = f"""<script>
localStorage.getItem("{REMEMBERED}") ?? localStorage.setItem("{REMEMBERED}", '"machine_learning"')
</script>"""


def first_page(_: Request) -> HTMLResponse:
    """Return MLflow's one HTML page, which then makes the choice before it does anything else."""
    page = Path(routes_of_flask.static_folder or "", "index.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("<head>", f"<head>{CHOICE}", 1), headers={"cache-control": "no-cache"})


app.router.routes.insert(0, Route("/", first_page))
