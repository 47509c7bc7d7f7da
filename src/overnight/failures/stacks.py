"""Stacks of Python processes, as py-spy and faulthandler print them."""

import re

from overnight.model.codec import Struct

_PROCESS = re.compile(r"Process (?P<pid>\d+): (?P<command>.*)")
_VERSION = re.compile(r"Python v[\d.]+\S* \((?P<exe>.*)\)")
_SPY_THREAD = re.compile(r'Thread (?P<id>0x[0-9A-Fa-f]+|\d+) \((?P<state>[\w+ ]+)\)(?:: "(?P<name>.*)")?')
_SPY_FRAME = re.compile(r"    (?P<function>\S.*?) \((?P<file>[^()]*?)(?::\d+)?\)")
_FAULT = "Fatal Python error: "
_FAULT_THREAD = re.compile(r"(?P<current>Current thread|Thread) 0x[0-9a-f]+.*\(most recent call first\):")
_FAULT_FRAME = re.compile(r'  File "(?P<file>.*)", line \d+ in (?P<function>\S+)')
_LIBRARY = re.compile(r".*/(?:site-packages|dist-packages|lib/python\d\.\d+)/")
NO_INTERPRETER = (
    "Failed to find a python interpreter"  # of a Python that has been taken apart, or one py-spy is too old for
)


class Frame(Struct, frozen=True):
    """One call. `function` without its class; `file` as below the libraries, its own name elsewhere."""

    function: str
    file: str

    def __str__(self) -> str:
        return f"{self.function} ({self.file})"


class Thread(Struct, frozen=True):
    """Its frames, the innermost first. `main`: the interpreter's first thread."""

    name: str
    main: bool
    frames: tuple[Frame, ...] = ()


class Dump(Struct, frozen=True):
    """One process. `pid` is None where the print does not say whose it is."""

    pid: int | None
    threads: tuple[Thread, ...] = ()
    exe: str = ""

    @property
    def main(self) -> Thread | None:
        """The main thread."""
        return next((thread for thread in self.threads if thread.main), None)


def of_py_spy(text: str) -> Dump | None:
    """What `py-spy dump` printed; None if it printed no stacks."""
    pid, exe = None, ""
    threads: list[tuple[str, bool, list[Frame]]] = []
    for line in text.splitlines():
        if (found := _PROCESS.match(line)) is not None:
            pid = int(found["pid"])
        elif (found := _VERSION.match(line)) is not None:
            exe = found["exe"]
        elif (found := _SPY_THREAD.match(line)) is not None:
            name = found["name"] or ""
            # Late in the interpreter's end threads have no names any more.
            threads.append((name, name == "MainThread" or found["id"] == str(pid), []))
        elif threads and (found := _SPY_FRAME.match(line)) is not None:
            threads[-1][2].append(_frame(found["function"], found["file"]))
    if pid is None:
        return None
    return Dump(pid, tuple(Thread(name, main, tuple(frames)) for name, main, frames in threads), exe)


def of_faulthandler(text: str) -> list[Dump]:
    """The dumps that `faulthandler` left in a log, one for each fatal signal. Its current thread is the main one: a
    signal that is sent to a process goes there."""
    found: list[Dump] = []
    for part in text.split(_FAULT)[1:]:
        threads: list[tuple[bool, list[Frame]]] = []
        for line in part.splitlines():
            if (thread := _FAULT_THREAD.match(line)) is not None:
                threads.append((thread["current"] == "Current thread", []))
            elif threads and (frame := _FAULT_FRAME.match(line)) is not None:
                threads[-1][1].append(_frame(frame["function"], frame["file"]))
        if threads:
            found.append(Dump(None, tuple(Thread("", main, tuple(frames)) for main, frames in threads)))
    return found


def _frame(function: str, file: str) -> Frame:
    return Frame(function.rsplit(".", 1)[-1], _LIBRARY.sub("", file).lstrip("/") if _LIBRARY.match(file) else file)
