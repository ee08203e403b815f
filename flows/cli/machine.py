"""The commands for this machine: doctor, completion."""

import click

from flows.cli.group import Project, cli, json_option


@cli.command()
@json_option
@click.pass_obj
def doctor(project: Project, as_json: bool) -> None:
    """Check this machine and project, and say how to mend what is wrong.

    \b
    Example:
      modelyard doctor
    """
    from flows.operate.doctor import examine
    from flows.operate.tables import doctor_summary, doctor_table
    from flows.telling.output import reporting

    root = project.root
    with reporting(as_json) as report:
        checks = examine(root)
        report(doctor_summary(checks), doctor_table)
    if any(check.state == "fail" for check in checks):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, recipes and stages.

    \b
    Examples:
      eval "$(modelyard completion bash)"      in ~/.bashrc
      eval "$(modelyard completion zsh)"       in ~/.zshrc
      modelyard completion fish > ~/.config/fish/completions/modelyard.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "modelyard", "_MODELYARD_COMPLETE").source())
