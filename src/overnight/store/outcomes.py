"""What became of many runs at once, read one by one: the questions behind `results` and `report`."""

from collections.abc import Iterator

from overnight.model.codec import Struct, from_json
from overnight.model.manifest import RunSpec
from overnight.model.run import Run
from overnight.model.time import Moment
from overnight.store import records
from overnight.store.named import load
from overnight.store.reading import StoreReader

SQL = load("reporting")


class Setback(Struct, frozen=True):
    """One attempt that ended badly. `lost`: GPU-seconds; `host` and `ended` None where nobody wrote them down."""

    campaign: str
    run_id: str
    n: int
    failure_class: str
    ended_by: str
    lost: float
    slot: str = ""
    host: str | None = None
    rule: str = ""
    ended: Moment | None = None


def outcomes(store: StoreReader, campaign: str, state: str | None = None) -> Iterator[tuple[Run, dict[str, str]]]:
    """Runs of a campaign (only those in `state`, if given) with all columns of their rows, in file order.

    Raises StoreError, also between two runs.
    """
    for columns in store.each(SQL["outcomes"], (campaign, state)):
        try:
            params = records.decode(columns[3], RunSpec).params
        except ValueError:  # then its run comes back held, with words that say so
            params = {}
        yield records.read_run(columns), params


def setbacks(store: StoreReader) -> Iterator[Setback]:
    """Every attempt of every campaign that ended badly, oldest campaign first. Raises StoreError, also between two."""
    key, attempts = ("", ""), dict[int, _Attempt]()
    for campaign, run_id, n, name, ended_by, lost, body in store.each(SQL["setbacks_of_all"]):
        if key != (campaign, run_id):
            key, attempts = (campaign, run_id), _attempts(body)
        a = attempts.get(n, _UNKNOWN)
        yield Setback(
            campaign=campaign, run_id=run_id, n=n, failure_class=name, ended_by=ended_by, lost=lost, slot=a.slot.name,
            host=a.process.host if a.process is not None else None, ended=a.ended,
            rule=(a.classification.rule if a.classification is not None else None) or "",
        )  # fmt: skip


# Of a run's record only what a setback needs: a third of the time of reading all of it.


class _Slot(Struct, frozen=True):
    name: str = ""


class _Process(Struct, frozen=True):
    host: str | None = None


class _Found(Struct, frozen=True):
    rule: str | None = None


class _Attempt(Struct, frozen=True):
    n: int = 0
    slot: _Slot = _Slot()
    process: _Process | None = None
    classification: _Found | None = None
    ended: Moment | None = None


class _Record(Struct, frozen=True):
    attempts: tuple[_Attempt, ...] = ()


_UNKNOWN = _Attempt()


def _attempts(body: bytes | None) -> dict[int, _Attempt]:
    """By number; none where the record cannot be read: the setback itself still counts."""
    try:
        return {a.n: a for a in from_json(body or b"{}", _Record).attempts}
    except ValueError:
        return {}
