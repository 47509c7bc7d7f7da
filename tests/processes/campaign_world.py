"""A root of its own, with real clients, keepers, supervisors and runs, of which nothing is left at its end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from keeper_world import SOURCE, alive, await_that

from overnight.model.codec import Struct
from overnight.shim.shim import descendants, process_stat

CLIENT = [sys.executable, "-m", "overnight"]
CLIENT_SECONDS = 60.0  # by then every client has answered, on a machine that does much else


class Answer(Struct, frozen=True):
    """What a client said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


class Ground:
    """A home, a host's slots and a root, all in one directory; `overnight` is typed in its `work`."""

    def __init__(self, base: Path, root: Path | None = None, slots: Path | None = None) -> None:
        self.base, self.work, self.root = base, base / "work", root or base / "Zoë's root"
        self.slots = slots or base / "slots"
        for folder in (base, self.work, base / "home"):
            folder.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OVERNIGHT_", "CUDA_"))}
        self.env = kept | {
            "HOME": str(base / "home"),
            "XDG_STATE_HOME": str(base / "home" / "state"),
            "OVERNIGHT_ROOT": str(self.root),
            "OVERNIGHT_SLOTS_DIR": str(self.slots),
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(SOURCE),
        }

    @property
    def state(self) -> Path:
        return Path(self.env.get("OVERNIGHT_STATE") or self.root / ".state")

    # --- typing --------------------------------------------------------------------------------------------

    def start(self, *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> "Client":
        """Type `overnight WORDS`, and go on."""
        return Client(list(map(str, words)), self.env if env is None else env, cwd or self.work)

    def overnight(
        self, *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None, code: int | None = 0
    ) -> Answer:
        """Type `overnight WORDS`, and wait for its answer. `code`: what it must exit with (None: anything)."""
        answer = self.start(*words, env=env, cwd=cwd).answer()
        assert code is None or answer.code == code, f"exit {answer.code}\n{answer.out}\n{answer.err}\n{self.logs()}"
        return answer

    def launch(self, *words: object, code: int = 0, **how: Any) -> str:
        """`overnight launch --json WORDS`; the campaign's name."""
        return str(self.overnight("launch", "--json", *words, code=code, **how).document["campaign"])

    def file(self, name: str, text: str) -> Path:
        """A file in `work`."""
        path = self.work / name
        path.write_text(text)
        return path

    # --- looking -------------------------------------------------------------------------------------------

    def status(self, campaign: str) -> dict[str, Any]:
        document: dict[str, Any] = self.overnight("status", campaign, "--json", "--all").document
        return document

    def counts(self, campaign: str) -> dict[str, int]:
        """`counts` of campaign.json: cheap to look at often. Empty before there is one."""
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, int] = json.loads((self.folder(campaign) / "campaign.json").read_text())["counts"]
            return found
        return {}

    def folder(self, campaign: str) -> Path:
        return self.root / "campaigns" / campaign

    def out(self, campaign: str, run: str) -> Path:
        return self.folder(campaign) / "runs" / run / "out"

    def attempt(self, campaign: str, run: str, n: int = 1) -> Path:
        return self.folder(campaign) / "runs" / run / "attempts" / str(n)

    def summary(self, campaign: str, run: str) -> dict[str, Any]:
        """Once it is there: `counts` may tell of an end a moment before."""
        return document(self.folder(campaign) / "runs" / run / "summary.json")

    def logs(self) -> str:
        """What supervisor and keeper have said, for a test that failed."""
        names = ("supervisor.log", "keeper.log")
        return "\n".join(f"--- {n}\n{(self.state / n).read_text()}" for n in names if (self.state / n).exists())

    # --- who watches ---------------------------------------------------------------------------------------

    @property
    def holder(self) -> dict[str, Any]:
        """What the newest supervisor wrote about itself; empty before there is one."""
        try:
            found: dict[str, Any] = json.loads((self.state / "lock").read_text().strip("\0 \n"))
        except (OSError, ValueError):
            return {}
        return found

    def supervisor(self) -> int:
        """The pid of the living supervisor, once there is one."""
        return int(await_that(lambda: (pid := self.holder.get("pid", 0)) and alive(pid) and pid))

    def keeper_pid(self) -> int:
        """The pid of the newest keeper, dead or alive; 0 before there is one."""
        try:
            return int((self.state / "keeper.lock").read_text())
        except (OSError, ValueError):
            return 0

    def keeper(self) -> int:
        """The pid of the living keeper, once there is one."""
        return int(await_that(lambda: (pid := self.keeper_pid()) and alive(pid) and pid))

    def in_control(self, after_term: int, turns: int = 1) -> int:
        """The pid of a supervisor of a later term than this that has had so many turns."""

        def look() -> int:
            holder = self.holder
            turned = holder.get("term", 0) > after_term and holder.get("beat", 0) > turns
            return int(holder["pid"]) if turned and alive(holder["pid"]) else 0

        return int(await_that(look))

    # --- the end -------------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Every live process of ours: those that name our directory in words or environment, and all below."""
        mark = os.fsencode(self.base)
        tops = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                told = Path(f"/proc/{name}/cmdline").read_bytes() + Path(f"/proc/{name}/environ").read_bytes()
                if mark in told and alive(int(name)):
                    tops.append(int(name))
        return list(dict.fromkeys([*tops, *(each.pid for each in descendants(*tops) if not each.dead)]))

    def close(self) -> None:
        """End all of it. All stand still first: nobody can bring anybody back then."""
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            await_that(lambda kind=kind: not self._send(kind))

    def _send(self, kind: signal.Signals) -> list[int]:
        """Who had to be told. Looks twice: a process in the middle of exec has neither words nor environment. Who waits
        in the kernel (D) stands still, too, and for as long as what it has just spawned does: it is told, and that is
        enough."""
        told = []
        for pid in (*self.processes(), *self.processes()):
            with contextlib.suppress(OSError):
                state = "" if (stat := process_stat(pid)) is None else stat.state
                if kind == signal.SIGKILL or state not in ("", "T"):
                    os.kill(pid, kind)
                    told += [pid] if kind == signal.SIGKILL or state != "D" else []
        return told


class Client:
    """A client at work."""

    def __init__(self, words: list[str], env: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            [*CLIENT, *words], env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(self) -> Answer:
        """What it said, once it has ended."""
        try:
            out, err = self.process.communicate(timeout=CLIENT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"no answer in {CLIENT_SECONDS} s\n{out}\n{err}") from None
        return Answer(self.process.returncode, out, err)


def document(path: Path) -> dict[str, Any]:
    """The JSON in a file that somebody writes off the loop, or just now, once all of it is there."""

    def look() -> Any:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads(path.read_text())

    found: dict[str, Any] = await_that(look)
    return found


def end_at_once(*pids: int) -> None:
    """SIGKILL, to none of them so late that it could act upon the other's death."""
    for kind in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)


def lines(path: Path) -> list[str]:
    """The lines of a file that runs append to; none while there is no file."""
    return path.read_text().splitlines() if path.exists() else []


def unshared(ground: Ground, script: str) -> subprocess.CompletedProcess[str]:
    """A shell with mounts of its own; `$0` is a client, in words of a shell."""
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m"]
    return subprocess.run(
        [*unshare, "sh", "-ec", script, " ".join(CLIENT)],
        env=ground.env,
        cwd=ground.work,
        capture_output=True,
        text=True,
    )


@contextlib.contextmanager
def standing(base: Path, **where: Path) -> Iterator[Ground]:
    """A ground of which no process is left."""
    made = Ground(base, **where)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """The test's own."""
    with standing(tmp_path) as made:
        yield made
