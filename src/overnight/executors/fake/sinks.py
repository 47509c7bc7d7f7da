"""Where scripted attempts leave what real ones leave in files."""

import contextlib
import os
import threading
from typing import Protocol

from overnight.executors.records import Claim, DamagedRecord, read_claim, read_exit
from overnight.model.codec import Struct, field, from_json, to_json
from overnight.model.run import ExitRecord
from overnight.model.time import Moment
from overnight.shim.shim import claim


class Plan(Struct, frozen=True):
    """What must be remembered of an order to go on with it after a restart."""

    out_dir: str
    first_step: int
    bound_seconds: float | None
    grace: float
    table: dict[str, object] = field(default_factory=dict)


class Remembered(Struct, frozen=True):
    """An attempt as its files have it. `started` None: nobody has claimed it."""

    plan: Plan | None
    started: Moment | None
    given_up: bool
    exit: ExitRecord | None
    size: int


class Sink(Protocol):
    """`eager`: somebody reads it as it grows, so output comes when it is due and not when it is asked for."""

    eager: bool

    def plan(self, directory: str, plan: Plan) -> None: ...

    def claim(self, directory: str, by: str, now: Moment) -> Moment | None:
        """Begin it, or give it up: the moment, or None if somebody else was first."""

    def write(self, directory: str, text: str) -> None: ...

    def leave(self, path: str, text: str) -> None:
        """A file of the run."""

    def end(self, directory: str, record: ExitRecord) -> None: ...

    def remember(self, directory: str) -> Remembered | None: ...


class MemorySink:
    """Everything in dictionaries by attempt directory; files of runs by path."""

    eager = False

    def __init__(self) -> None:
        self.started: dict[str, tuple[str, Moment]] = {}
        self.output: dict[str, list[str]] = {}
        self.exits: dict[str, ExitRecord] = {}
        self.files: dict[str, str] = {}

    def plan(self, directory: str, plan: Plan) -> None:
        """Nothing to keep: the world outlives its windows."""

    def claim(self, directory: str, by: str, now: Moment) -> Moment | None:
        """The first one wins."""
        if directory in self.started:
            return None
        self.started[directory] = (by, now)
        return now

    def write(self, directory: str, text: str) -> None:
        """Append to its output."""
        self.output.setdefault(directory, []).append(text)

    def leave(self, path: str, text: str) -> None:
        """Keep the file."""
        self.files[path] = text

    def end(self, directory: str, record: ExitRecord) -> None:
        """Keep the record."""
        self.exits[directory] = record

    def remember(self, directory: str) -> Remembered | None:
        """Nothing: what the world does not know was never ordered."""
        return None


class FileSink:
    """The files that a shim would write, for real campaigns on the real clock. `fake.json` beside them holds
    what a restarted supervisor needs to go on."""

    eager = True

    def plan(self, directory: str, plan: Plan) -> None:
        """Raises OSError."""
        _replace(f"{directory}/fake.json", to_json(plan))

    def claim(self, directory: str, by: str, now: Moment) -> Moment | None:
        """Raises OSError."""
        if not claim(directory, by):
            return None
        found = read_claim(directory)
        return now if found is None else found.moment

    def write(self, directory: str, text: str) -> None:
        """Append to output.log. What a full disk does not take is lost, as it is for any command."""
        with contextlib.suppress(OSError), open(f"{directory}/output.log", "ab") as file:
            file.write(text.encode())

    def leave(self, path: str, text: str) -> None:
        """A full disk takes no file."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _replace(path, text.encode())

    def end(self, directory: str, record: ExitRecord) -> None:
        """No record is written of what nobody could record, nor on a full disk: the world remembers."""
        if not record.recorded:
            return
        fault = None
        if record.error is not None:
            fault = {"what": record.error_kind, "errno": record.errno, "message": record.error}
        found = {
            "code": record.code, "signal": record.signal, "raw": record.raw, "seconds": record.seconds,
            "stopped": record.stopped, "error": fault, "swept": record.swept,
        }  # fmt: skip
        with contextlib.suppress(OSError):
            _replace(f"{directory}/exit", to_json(found))

    def remember(self, directory: str) -> Remembered | None:
        """What the files say; None if there is no such directory. Raises OSError."""
        if not os.path.isdir(directory):
            return None
        plan, found, record = None, None, None
        with contextlib.suppress(FileNotFoundError, ValueError), open(f"{directory}/fake.json", "rb") as file:
            plan = from_json(file.read(), Plan)
        with contextlib.suppress(DamagedRecord):
            found = read_claim(directory)
        with contextlib.suppress(DamagedRecord):
            record = read_exit(directory)
        size = 0
        with contextlib.suppress(FileNotFoundError):
            size = os.stat(f"{directory}/output.log").st_size
        return Remembered(plan, _began(found), found is not None and found.by != "shim", record, size)


def _began(found: Claim | None) -> Moment | None:
    return found.moment if found is not None and found.by == "shim" else None


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.rename(temporary, path)
