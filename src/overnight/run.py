"""For the program that is being run: say how far it is, and when silence is work.

    from overnight.run import phase, progress

    for step in range(steps):
        ...
        progress(step, steps, loss=loss)
    with phase("eval", quiet="2h"):
        evaluate()

Outside a run both do nothing. Inside they replace one small file, at most once a second, from rank 0 alone where ranks
are known. They raise nothing: a full disk costs a line of progress, not the training. Imports nothing until then.
"""

_EACH_SECONDS = 1.0
_EACH_PHASE_SECONDS = 0.05  # phases that are not quiet, in a loop
_AFTER_A_PROBLEM_SECONDS = 30.0
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")

_now: dict[str, object] = {}  # what is to be said
_held: list[object] = []  # whether it is still to be written, and who says it at the end
_due = 0.0  # no write before (monotonic seconds)


def progress(step: float, total: float | None = None, **metrics: object) -> None:
    """The run has come to `step`, of `total` if that is known, in a unit of its own. Named numbers (also tensors with
    one element) become metrics; what is no finite number is left out."""
    try:
        _say({"step": step, "total": total}, whole=total is not None and step >= total, metrics=metrics)
    except Exception:  # nothing of ours may end somebody's training
        return


class phase:
    """The run is about something else now: `phase("eval", quiet="2h")`. `quiet`: for so long (seconds, or a text like
    `90m`) it may be silent and not advance; its timeout holds all the same. Until the next `phase`, `phase(None)`, or
    the end of the `with` block, which brings the phase before it back."""

    def __init__(self, name: str | None, quiet: float | str | None = None) -> None:
        self._before = (_now.get("phase"), _now.get("quiet"))
        self._enter(name, quiet)

    def __enter__(self) -> "phase":
        return self

    def __exit__(self, *problem: object) -> None:
        self._enter(*self._before)

    def _enter(self, name: object, quiet: object) -> None:
        quiets = quiet is not None or _now.get("quiet") is not None
        try:
            _say({"phase": name, "quiet": quiet}, whole=quiets, each=_EACH_PHASE_SECONDS)
        except Exception:  # as above
            return


def _say(
    words: dict[str, object], whole: bool, each: float = _EACH_SECONDS, metrics: dict[str, object] | None = None
) -> None:
    """Write it, if it must be known at once (`whole`) or the last word is `each` seconds old. Of the metrics only
    numbers are kept: a tensor would keep its graph, and asking for its value makes the device wait."""
    import os

    path = os.environ.get("OVERNIGHT_PROGRESS")
    if not path:
        return
    rank = next((os.environ[name] for name in _RANKS if os.environ.get(name)), "0")
    if rank != "0":
        return
    import time

    late = not whole and time.monotonic() < _due - _EACH_SECONDS + each
    _now.update({name: value if name in ("phase", "quiet") else _number(value) for name, value in words.items()})
    if metrics is not None:
        plain = {name: value for name, value in metrics.items() if not late or isinstance(value, int | float)}
        numbers = {name: number for name, value in plain.items() if (number := _number(value)) is not None}
        before = _now.get("metrics")
        _now["metrics"] = {**before, **numbers} if late and isinstance(before, dict) else numbers
    if late:
        _remember(os.getpid())
        return
    _write(path)


def _write(path: str) -> None:
    """Replace the file. Beside it there is no other of this name: processes and threads write their own."""
    global _due
    import _thread
    import json
    import os
    import time

    _held[:] = [False, *_held[1:]]
    document = {"step": None, "total": None, "metrics": {}, **_now, "wall": time.time()}
    beside = f"{path}.{os.getpid()}.{_thread.get_ident()}"
    _due = time.monotonic() + _EACH_SECONDS
    try:
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(document, file, default=str)
        os.replace(beside, path)
    except OSError:
        _due = time.monotonic() + _AFTER_A_PROBLEM_SECONDS
        try:
            os.unlink(beside)
        except OSError:
            return


def _number(value: object) -> float | None:
    if value is None or isinstance(value, str):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # a tensor, an array of one, anything that knows how
    except Exception:  # whatever it is, it is no number
        return None
    return number if number - number == 0 else None  # neither infinite nor a not-a-number


def _remember(pid: int) -> None:
    """The last word of a run that ends within a second of the one before is said when its interpreter ends."""
    if len(_held) < 2 or _held[1] != pid:
        import atexit

        _held[:] = [True, pid]
        atexit.register(_last_word, pid)
    _held[0] = True


def _last_word(pid: int) -> None:
    import os

    path = os.environ.get("OVERNIGHT_PROGRESS")
    if not path or pid != os.getpid() or not _held or not _held[0]:
        return
    try:
        _write(path)
    except Exception:  # as above
        return
