"""The commands that serve models (serve, canary) and run the servers beside them (up, status, down, ui)."""

import click

from flows.cli.group import RECIPES, Project, cli, json_option, port_options


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other address asks every client for its key.")
@click.pass_obj
def serve(project: Project, recipe: str, port: int, host: str) -> None:
    """Serve the packaged model of RECIPE on this machine, until Ctrl-C.

    \b
    Example:
      modelyard serve movie_sentiment
      curl -s http://127.0.0.1:3000/classify -H 'content-type: application/json' -d '{"texts": ["What a film!"]}'
    """
    from flows.operate.serve import serve_recipe

    serve_recipe(project.root, recipe, port=port, host=host)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--version", "number", metavar="N", type=click.IntRange(1), help="By default the challenger.")
@click.option("--withdraw", is_flag=True, help="End the trial without a verdict.")
@click.pass_obj
def canary(project: Project, recipe: str, number: int | None, withdraw: bool) -> None:
    """Try the challenger of RECIPE beside its champion, on a share of the real requests.

    'service.canary' in params.yaml says how. It is promoted when its requests passed without a regression, and
    dropped when there is one; 'modelyard status' shows how it does.

    \b
    Example:
      modelyard canary movie_sentiment
    """
    from flows.router import challengers

    root = project.root
    if withdraw:
        click.echo("withdrawn" if challengers.withdraw(root, recipe) else "no trial was asked for")
        return
    version = challengers.challenge(root, recipe, number=number)
    click.echo(f"version {version.number} ({version.tag}) is tried where 'modelyard up' serves {recipe}")


@cli.command()
@port_options
@json_option
@click.pass_obj
def up(project: Project, mlflow_port: int | None, prefect_port: int | None, as_json: bool) -> None:
    """Start MLflow, Prefect, the schedules and the recipes with 'serve: true', in the background, on 127.0.0.1.

    What runs already is left as it is. A recipe with faults in params.yaml is not started: 2 is then the exit code.

    \b
    Example:
      modelyard up
    """
    from flows.operate.plan import check_recipes
    from flows.operate.tables import up_summary, up_table
    from flows.operate.up import bring_up
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        data = up_summary(bring_up(root, mlflow_port=mlflow_port, prefect_port=prefect_port))
        report(data, up_table)
    check_recipes(root)
    if not data["is_well"]:
        raise click.exceptions.Exit(1)


@cli.command()
@port_options
@json_option
@click.pass_obj
def status(project: Project, mlflow_port: int | None, prefect_port: int | None, as_json: bool) -> None:
    """Say what 'modelyard up' runs, where, which version, and whether it is well: 1 is the exit code if it is not.

    \b
    Example:
      modelyard status
    """
    from flows.operate.tables import up_summary, up_table
    from flows.operate.up import look
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        data = up_summary(look(root, mlflow_port=mlflow_port, prefect_port=prefect_port))
        report(data, up_table)
    if not data["is_well"]:
        raise click.exceptions.Exit(1)


@cli.command()
@click.option("--force", is_flag=True, help="Stop the servers even while a run tells them what it does.")
@json_option
@click.pass_obj
def down(project: Project, force: bool, as_json: bool) -> None:
    """Stop what 'modelyard up' started: each finishes what it has, and is killed if it does not end.

    \b
    Example:
      modelyard down
    """
    from flows.operate.tables import down_lines, down_summary
    from flows.operate.up import bring_down
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        report(down_summary(bring_down(root, force=force)), down_lines)


@cli.command()
@port_options
@click.pass_obj
def ui(project: Project, mlflow_port: int | None, prefect_port: int | None) -> None:
    """Start the web pages of MLflow and Prefect on 127.0.0.1, until Ctrl-C.

    \b
    Example:
      modelyard ui
    """
    from flows.operate.ui import open_ui
    from flows.servers.ports import MLFLOW_PORT, PREFECT_PORT

    open_ui(project.root, mlflow_port=mlflow_port or MLFLOW_PORT, prefect_port=prefect_port or PREFECT_PORT)
