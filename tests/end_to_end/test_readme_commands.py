"""Every command of README.md, as it is printed there, in a clone of the project.

Where a model is trained, the clone's `movie_sentiment` is a tiny recipe. What needs no model runs in `make test`.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from components.package.bento import stop
from tests.end_to_end.test_fresh_clone import link_environment
from tests.hooks import listening, webhook
from tests.patience import PATIENCE_S, wait_until
from tests.projects import ROOT, environment, git_commit, run, tiny_recipe, write_rows
from tests.readme import commands
from tests.tiny import make_tiny_encoder, tiny_rows

QUICK = (
    "source .venv/bin/activate",
    "modelyard recipes",
    "modelyard estimate --params 7e9",
    "modelyard ledger",
    "modelyard status",
    "modelyard keys add shop",
    "modelyard new tickets --data tickets.csv --text body --label team",
    'eval "$(modelyard completion bash)"',
)
SERVED = (
    "curl -s http://127.0.0.1:3000/classify -H 'content-type: application/json' "
    """-d '{"texts": ["A film to see twice.", "Two hours that I want back."]}'""",
    "curl -s http://127.0.0.1:3000/lineage",
)
LONG = (
    "make run",
    "modelyard doctor",
    "modelyard profile movie_sentiment",
    "modelyard notify --test",
    "modelyard run movie_sentiment",
    "modelyard why movie_sentiment",
    "modelyard run movie_sentiment --refresh",
    "modelyard run movie_sentiment --force finetune --until evaluate",
    "dvc repro package@movie_sentiment",
    "dvc repro",
    "modelyard serve movie_sentiment",
    "modelyard serve movie_sentiment --host 0.0.0.0",
    "modelyard monitor movie_sentiment",
    "modelyard ui",
    "modelyard worker",
    "dvc metrics show",
    "dvc exp run -n slower -S recipes.movie_sentiment.finetune.optimizer.learning_rate=5.0e-5 package@movie_sentiment",
    "dvc exp show --only-changed",
    "modelyard up",
    "modelyard canary movie_sentiment",
    "modelyard down",
    "modelyard promote movie_sentiment",
    "modelyard rollback movie_sentiment",
    "modelyard retrain movie_sentiment",
    "dvc remote add -d team ../team",
    "dvc push --with-deps package@movie_sentiment",
    "git add -A && git commit -m 'Share movie_sentiment'",
    "git clone . ../elsewhere && cd ../elsewhere",
    "dvc pull --with-deps package@movie_sentiment && modelyard serve movie_sentiment",
)
SERVERS = {
    "modelyard serve movie_sentiment": "answers on",
    "modelyard serve movie_sentiment --host 0.0.0.0": "answers on",
    "dvc pull --with-deps package@movie_sentiment && modelyard serve movie_sentiment": "answers on",
    "modelyard ui": "Ctrl-C ends",
    "modelyard worker": "",
}
"""What goes on until Ctrl-C, and what it says once it is there."""
EXITS = {"modelyard doctor": (0, 1)}
"""The exit codes of what may find fault with the machine that it runs on; 0 alone for what is not here."""
ELSEWHERE = {
    "make test": "this is part of it",
    "modelyard estimate speech_gpt": "tests/estimate: minutes of a real recipe's rows",
    "modelyard sweep digits": "tests/end_to_end/test_sweep.py: on tiny rows",
    "modelyard deploy POOL": "tests/flows/upkeep/test_deployments.py: with a pool of its own name",
    "pip install -c requirements.lock -e '.[s3]'": "tests/flows/operate/test_doctor.py: needs a network",
    "curl -s localhost:3000/classify -F images=@seven.png": "tests/serving/tasks/array_classification/test_endpoint.py",
    "curl -sN localhost:3000/generate -H 'content-type: application/json' "
    """-d '{"prompt": "The state of our Union", "max_tokens": 60, "seed": 1}'""": (
        "tests/serving/tasks/text_generation/test_endpoint.py"
    ),
    "curl -s localhost:3000/sample -H 'content-type: application/json' "
    """-d '{"seed": 1, "count": 16, "format": "png"}' -o digits.png""": (
        "tests/serving/tasks/image_generation/test_endpoint.py"
    ),
}
"""What cannot run here, each with what tries it."""


def plain(command: str) -> str:
    """A command on one line, without its comment."""
    return re.sub(r"\s+#.*", "", re.sub(r"\\\n\s*", "", command)).strip()


def printed(name: str) -> str:
    """A command as the README prints it."""
    return next(command for command in commands() if plain(command) == name)


def test_every_command_of_the_readme_is_claimed_by_a_test() -> None:
    claimed = [*QUICK, *SERVED, *LONG, *ELSEWHERE]
    assert sorted(map(plain, commands())) == sorted(claimed)
    for where in ELSEWHERE.values():
        file = where.partition(":")[0]
        assert file == "this is part of it" or (ROOT / file).exists(), file


def clone_of_the_project(folder: Path, *, is_tiny: bool) -> Path:
    """A fresh clone; tiny: its only recipe is a small one by the name of the README's."""
    clone = folder / "clone"
    run(["git", "clone", "-q", str(ROOT), str(clone)], folder)
    for words in (["user.name", "test"], ["user.email", "test@localhost"]):
        run(["git", "config", *words], clone)
    with (clone / ".git" / "info" / "exclude").open("a") as file:
        file.write(".venv\n")
    link_environment(clone)
    if is_tiny:
        rows = tiny_rows(400)
        write_rows(clone / "data" / "rows.csv", rows)
        make_tiny_encoder(clone / "encoder", [text for text, _ in rows])
        recipe = tiny_recipe()
        recipe["evaluate"]["gate"] |= {"min": 0.0, "min_gain": -1.0}
        recipe["promotion"] |= {"max_drop": 1.0, "indifference": 1.0}
        params = {"recipes": {"movie_sentiment": recipe}, "notify": {"somebody": webhook("failed_gate")}}
        YAML().dump(params, clone / "params.yaml")
        (clone / "dvc.lock").unlink()
        run(["git", "add", "-A"], clone)
        run(git_commit("a tiny recipe"), clone)
    return clone


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a user's shell does with it; its output is in the error where it fails."""
    done = run(["bash", "-ec", command], folder, check=False, PREFECT_SERVER_ANALYTICS_ENABLED="false")
    assert done.returncode in EXITS.get(command, (0,)), f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_what_needs_no_model_runs_as_printed(tmp_path: Path) -> None:
    clone = clone_of_the_project(tmp_path, is_tiny=False)
    rows = [(f"my {word} does not work, number {number}", team) for number in range(120)
            for word, team in (("printer", "office"), ("invoice", "accounts"))]  # fmt: skip
    lines = ["body,team", *(f"{text},{team}" for text, team in rows)]
    (clone / "tickets.csv").write_text("\n".join(lines).replace("work, number", "work number") + "\n")
    for name in QUICK:
        shell(printed(name), clone)
    assert "tickets" in (clone / "params.yaml").read_text()


@contextmanager
def going(command: str, folder: Path, says: str) -> Generator[None]:
    """A command that goes on, for the block, from when it said so until Ctrl-C, after which it ends well."""
    log = folder.parent / "log"

    def said() -> str:
        return log.read_text(errors="replace")

    with log.open("wb") as output:
        process = psutil.Popen(
            ["bash", "-ec", command], cwd=folder, env=environment(), stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(50):  # it says so, and goes on
            wait_until(lambda: says in said() or process.poll() is not None, said, within_s=3 * PATIENCE_S)
            assert process.poll() is None, said()
            time.sleep(0.2)
        yield
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=2 * PATIENCE_S) in (0, 130), said()
    finally:
        stop(process)


def follow(clone: Path, names: tuple[str, ...]) -> None:
    """Type these commands, one after the other, and ask what is served."""
    here = clone
    for name in names:
        if name in SERVERS:
            with going(printed(name), here, SERVERS[name]):
                for asked in SERVED if name == "modelyard serve movie_sentiment" else ():
                    assert shell(printed(asked), here).stdout.startswith(("[", "{"))
            continue
        done = shell(printed(name), here)
        if name.startswith("dvc exp run -n slower"):
            # MLflow's page shows the experiment under the name that DVC has it by.
            client = MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
            (experiment,) = [one for one in client.search_experiments() if one.name == "movie_sentiment"]
            runs = client.search_runs([experiment.experiment_id], "tags.`modelyard.dvc_experiment` = 'slower'")
            assert [one.info.run_name.partition(":")[0] for one in runs] == ["slower"]
        if name == "modelyard doctor":
            assert "this check itself failed" not in done.stdout
            assert all(check in done.stdout for check in ("python", "versions", "schedules"))
        if "cd ../elsewhere" in name:
            here = here.parent / "elsewhere"
        if name == "make run":
            assert "git add dvc.lock && git commit" in done.stdout
            bentos = shell(next(line for line in done.stdout.splitlines() if "bentoml list" in line), here)
            assert "movie_sentiment:" in bentos.stdout
            shell("git add -A && git commit -qm 'Run movie_sentiment'", here)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_day_with_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = clone_of_the_project(tmp_path, is_tiny=True)
    shell(printed("modelyard keys add shop"), clone)
    with listening() as hook:
        monkeypatch.setenv("HOOK", hook.url)
        try:
            follow(clone, LONG)
        finally:
            run(["modelyard", "down"], clone, check=False)
    assert hook.events == ["test"]
