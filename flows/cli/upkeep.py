"""The commands for a model that is served: monitor, retrain, worker, deploy, promote, rollback, notify, ledger."""

from datetime import UTC, datetime

import click

from components.plumbing.errors import InputError
from flows.cli.group import RECIPES, Project, cli, json_option


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Judge the last N answered texts or arrays.")
@click.option("--since", metavar="TIME", help="Judge what was answered since then: 2026-11-22T06:00, in UTC.")
@json_option
@click.pass_obj
def monitor(project: Project, recipe: str, last: int | None, since: str | None, as_json: bool) -> None:
    """Compare the traffic of RECIPE's service with what its model was made from.

    Drift starts a retraining where the recipe says so, and ends the command with exit code 3; so does a service outside
    of its limits.

    \b
    Examples:
      modelyard monitor movie_sentiment
      modelyard monitor movie_sentiment --since 2026-11-22T06:00
    """
    from flows.telling.output import reporting

    root, start = project.root, time_of(since)
    with reporting(as_json) as report:
        from flows.telling.alerts import alerting
        from flows.upkeep.monitor import monitor_recipe, monitor_summary, monitor_tables

        with alerting(root, recipe, where=f"modelyard monitor {recipe}", is_by_hand=True):
            outcome = monitor_recipe(root, recipe, last=last, since=start)
        report(monitor_summary(outcome), monitor_tables)
    if outcome.verdict.state in ("drift", "degraded"):
        raise click.exceptions.Exit(3)


def time_of(text: str | None) -> datetime | None:
    """Read an ISO 8601 time, in UTC where it names no zone; None for None, InputError where it is no time."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--since is '{text}'; it must be a time such as 2026-11-22T06:00 or 2026-11-22") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--limit", "limit_s", metavar="SECONDS", type=click.IntRange(1), help="By default schedule.limit_s.")
@click.option("--cause", default="by hand", show_default=True, help="Why, for the ledger.")
@json_option
@click.pass_obj
def retrain(project: Project, recipe: str, limit_s: int | None, cause: str, as_json: bool) -> None:
    """Train RECIPE again if its source has something new, and promote what came of it if it is not worse.

    \b
    Example:
      modelyard retrain movie_sentiment
    """
    from components.plumbing.logs import say

    say(f"{recipe}: starting (DVC, Prefect and MLflow take seconds to load)")
    from flows.servers.tools import prefect_for_a_run
    from flows.telling.output import reporting

    root = project.root
    with prefect_for_a_run(root) as wait_for_prefect, reporting(as_json) as report:
        from flows.upkeep.retrain import run_retrain  # takes seconds, in which the server starts
        from flows.upkeep.tables import retrain_lines, retrain_summary

        done = run_retrain(root, recipe, cause=cause, limit_s=limit_s, wait_for_prefect=wait_for_prefect)
        report(retrain_summary(done), retrain_lines)


@cli.command()
@click.pass_obj
def worker(project: Project) -> None:
    """Run what params.yaml schedules, when it is due, until Ctrl-C. It needs a Prefect server: 'modelyard ui' has one.

    \b
    Example:
      modelyard worker
    """
    from flows.upkeep.worker import serve_schedules

    serve_schedules(project.root)


@cli.command()
@click.argument("pool")
@json_option
@click.pass_obj
def deploy(project: Project, pool: str, as_json: bool) -> None:
    """Put what params.yaml schedules on the work POOL of a Prefect server of your own (PREFECT_API_URL).

    \b
    Examples:
      prefect work-pool create team --type process
      modelyard deploy team
      prefect worker start --pool team          in this project's folder, on any machine
    """
    from flows.telling.output import reporting
    from flows.upkeep.deployments import deploy_schedules
    from flows.upkeep.tables import deployed_lines

    root = project.root
    with reporting(as_json) as report:
        report(deploy_schedules(root, pool=pool), deployed_lines)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--version", "number", metavar="N", type=click.IntRange(1), help="By default the challenger.")
@click.option("--force", metavar="REASON", help="Do not compare; the ledger keeps why.")
@click.option("--build", "is_build", is_flag=True, help="Serve the champion in the build that is packaged here.")
@click.option("--cause", default="by hand", show_default=True, help="Why now, for the ledger.")
@json_option
@click.pass_obj
def promote(
    project: Project, recipe: str, number: int | None, force: str | None, is_build: bool, cause: str, as_json: bool
) -> None:
    """Make the challenger of RECIPE the champion, if it is not worse on the same held-out rows.

    A fix of the service alone makes no challenger: it is another build of the same version, which a running
    service takes over on its own. --build asks for it by hand.

    \b
    Examples:
      modelyard promote movie_sentiment
      modelyard promote movie_sentiment --version 3 --force "the old one leaks memory"
      modelyard promote movie_sentiment --build
    """
    from components.promotion.decide import promote as decide
    from components.promotion.decide import take_build
    from flows.telling.alerts import alerting, tell_of_champion
    from flows.telling.output import reporting
    from flows.upkeep.tables import decision_lines, decision_summary

    if is_build and (number is not None or force is not None):
        raise click.UsageError("--build is of the champion, whose model stays; it goes without --version and --force.")
    root = project.root
    with reporting(as_json) as report:
        if is_build:  # which the router asks for again where it failed: no alert each time
            decision = take_build(root, recipe, through=f"promote --build, {cause}")
        else:
            with alerting(root, recipe, where=f"modelyard promote {recipe}", is_by_hand=True):
                decision = decide(root, recipe, number=number, force=force, through=f"promote, {cause}")
        report(decision_summary(decision), decision_lines)
    figures, run_id = decision.figures, decision.run_id
    tell_of_champion(root, recipe, decision.state, decision.why, decision.version, figures, run_id)


@cli.command()
@click.argument("recipe", shell_complete=RECIPES)
@click.option("--to", "number", metavar="N", type=click.IntRange(1), help="By default the champion before this one.")
@click.option("--reason", default="", help="The ledger keeps it.")
@json_option
@click.pass_obj
def rollback(project: Project, recipe: str, number: int | None, reason: str, as_json: bool) -> None:
    """Make an earlier version of RECIPE the champion again, in seconds.

    \b
    Examples:
      modelyard rollback movie_sentiment
      modelyard rollback movie_sentiment --to 2 --reason "version 3 answers in the wrong language"
    """
    from components.promotion.decide import rollback as decide
    from flows.telling.alerts import alerting, tell_of_champion
    from flows.telling.output import reporting
    from flows.upkeep.tables import decision_lines, decision_summary

    root = project.root
    with reporting(as_json) as report:
        with alerting(root, recipe, where=f"modelyard rollback {recipe}", is_by_hand=True):
            decision = decide(root, recipe, number=number, through="modelyard rollback", reason=reason)
        report(decision_summary(decision), decision_lines)
    figures, run_id = decision.figures, decision.run_id
    tell_of_champion(root, recipe, decision.state, decision.why, decision.version, figures, run_id)


@cli.command()
@click.argument("recipe", required=False, shell_complete=RECIPES)
@click.option("--test", "is_test", is_flag=True, help="Send each a message now; 1 is the exit code if one fails.")
@json_option
@click.pass_obj
def notify(project: Project, recipe: str | None, is_test: bool, as_json: bool) -> None:
    """Show who is told of what (`notify:` in params.yaml), of RECIPE or of the project.

    \b
    Examples:
      modelyard notify
      modelyard notify movie_sentiment --test
    """
    from flows.telling.alerts import targets_summary, targets_table
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        data = targets_summary(root, recipe, is_test=is_test)
        report(data, targets_table)
    if any(target["state"] == "fail" for target in data["targets"]):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("recipe", required=False, shell_complete=RECIPES)
@json_option
@click.pass_obj
def ledger(project: Project, recipe: str | None, as_json: bool) -> None:
    """Show who made which version the champion, when and why, and whether any line of the ledger was changed since.

    \b
    Examples:
      modelyard ledger
      modelyard ledger movie_sentiment --json
    """
    from components.recipes import load_recipe
    from flows.telling.output import reporting
    from flows.upkeep.tables import check_ledger, ledger_summary, ledger_table

    root = project.root
    with reporting(as_json) as report:
        data = ledger_summary(root, recipe)
        if recipe is not None and not data["entries"]:  # one that params.yaml has no more keeps its history
            load_recipe(root, recipe)
        report(data, ledger_table)
    check_ledger(data)
