"""One night in which all that is provoked goes wrong, in two campaigns of the real product, side by side."""

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign_world import Client, Ground, standing
from cases import CASES, Case, cron_and_mounts, halves, memory_cgroup, missing
from endpoint import serving

NIGHT_SECONDS = 600.0  # by then every run has ended; about three minutes on two slow cores
PROGRAMS = Path(__file__).parent / "programs"
POLICY = {
    "retry.max_attempts": "1",
    "retry.outage": "3s",  # an outage is not counted: it is tried again for so long
    "retry.backoff.first": "300ms",
    "retry.backoff.max": "1s",
    "limits.timeout": "90s",
    "limits.grace": "2s",
}


OF_THE_MACHINE = ("HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")  # variables that would answer for what is provoked

collect_ignore = ["test_cgroup.py"] if memory_cgroup() is None else []
collect_ignore += [] if cron_and_mounts() else ["test_cron.py"]
collect_ignore += [] if shutil.which("systemd-analyze") else ["test_systemd.py"]


def pytest_configure() -> None:
    """In CI nothing may be missing: a lane that is green because its machine could provoke little proves little."""
    lacks = missing()
    if lacks and os.environ.get("CI", "") not in ("", "0", "false"):
        raise pytest.UsageError("; ".join(f"{lack}: that needs {what}" for lack, what in lacks.items()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what this machine cannot provoke, and what it would take."""
    for lack, what in missing().items():
        terminalreporter.write_line(f"not provoked here: {_names(lack)}: that needs {what}")


def _names(lack: str) -> str:
    return ", ".join(case.name for case in CASES if case.needs == lack) or lack


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a case that this machine can provoke."""
    if "case" in metafunc.fixturenames:
        lacks = missing()
        possible = [case for case in CASES if case.needs not in lacks]
        metafunc.parametrize("case", possible, ids=[case.name for case in possible])


class Night:
    """What became of it."""

    def __init__(self, ground: Ground, documents: list[dict[str, Any]]) -> None:
        self.ground = ground
        self.runs = {run["run_id"]: run for document in documents for run in document["runs"]}
        self._campaigns = {run["run_id"]: str(each["campaign"]) for each in documents for run in each["runs"]}

    def summary(self, run: str) -> dict[str, Any]:
        return self.ground.summary(self._campaigns[run], run)

    def log(self, run: str, attempt: int) -> str:
        """What the attempt said."""
        return self.file(run, f"attempts/{attempt}/output.log")

    def file(self, run: str, name: str) -> str:
        """A file of the run, by its name below the run's folder."""
        return (self.ground.folder(self._campaigns[run]) / "runs" / run / name).read_text("utf-8", "replace")


@pytest.fixture(scope="session")
def night(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The campaigns of all selected cases, two runs at a time; nothing of them is left."""
    selected = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [spec.params["case"] for spec in selected if spec is not None]
    base = tmp_path_factory.mktemp("night")
    with serving() as service, socket.socket() as closed, standing(base) as ground:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        cgroup = (memory_cgroup() or base) / f"overnight-provoked-{os.getpid()}"
        places = {
            "{service}": service.url,
            "{service_port}": str(service.server_port),
            "{closed_port}": str(closed.getsockname()[1]),
            "{cgroup}": str(cgroup),
        }
        try:
            yield Night(ground, _launch(ground, chosen, places))
        finally:
            ground.close()
            if cgroup.exists():
                cgroup.rmdir()


def _launch(ground: Ground, cases: list[Case], places: dict[str, str]) -> list[dict[str, Any]]:
    shutil.copytree(PROGRAMS, ground.work / "programs")
    ground.env = {name: value for name, value in ground.env.items() if not name.upper().startswith(OF_THE_MACHINE)}
    ground.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{ground.env['PATH']}"
    begun = [_campaign(ground, f"half-{n}", half, places) for n, half in enumerate(halves(cases)) if half]
    return [_ended(ground, client) for client in begun]


def _campaign(ground: Ground, name: str, cases: list[Case], places: dict[str, str]) -> Client:
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["run_id", "words"])
    for case in cases:
        words = case.words
        for place, value in places.items():
            words = words.replace(place, value)
        writer.writerow([case.name, words])
    settings = [word for key, value in POLICY.items() for word in ("--set", f"{key}={value}")]
    return ground.start(
        "launch", "--wait", "--json", "--slots", 1, *settings, "--name", name,
        "--runs", ground.file(f"{name}.csv", rows.getvalue()), "--", "{words...}",
    )  # fmt: skip


def _ended(ground: Ground, client: Client) -> dict[str, Any]:
    try:
        out, err = client.process.communicate(timeout=NIGHT_SECONDS)
    except subprocess.TimeoutExpired:
        client.process.kill()
        raise AssertionError(f"the night has not ended in {NIGHT_SECONDS} s\n{ground.logs()}") from None
    assert client.process.returncode in (0, 1), f"{out}\n{err}\n{ground.logs()}"
    document: dict[str, Any] = json.loads(out)
    return document
