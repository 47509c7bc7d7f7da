"""`[limits] deadline` as people write it."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from overnight.manifest import DurationFault, amend_policy, deadline_seconds
from overnight.manifest.deadlines import check_deadline
from overnight.model.manifest import Refusal
from overnight.model.policy import Policy

NOW = datetime(2026, 3, 18, 22, 30, tzinfo=timezone(timedelta(hours=1))).timestamp()


@pytest.fixture(autouse=True)
def _central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "hours"), [("08:00", 9.5), ("22:30", 24.0), ("22:31", 1 / 60), ("8h", 8.0), ("6:05", 7 + 35 / 60)]
)
def test_times_and_durations(text: str, hours: float) -> None:
    """A time of day that is past means tomorrow's: launched at 22:30, 08:00 is in the morning."""
    check_deadline(text)
    assert deadline_seconds(text, {}, NOW) == pytest.approx(hours * 3600)


@pytest.mark.parametrize(
    ("night", "hours"), [((2026, 3, 28, 22, 30), 8.5), ((2026, 10, 24, 22, 30), 10.5), ((2026, 3, 29, 3, 30), 4.5)]
)
def test_a_night_in_which_clocks_are_changed(night: tuple[int, int, int, int, int], hours: float) -> None:
    """At eight the machine was taken away, an hour before what was taken for eight: nothing had been saved."""
    assert deadline_seconds("08:00", {}, datetime(*night).astimezone().timestamp()) == pytest.approx(hours * 3600)


@pytest.mark.parametrize("text", ["24:00", "8:60", "8", "0", "-8h", "08:00:00", "tomorrow", "8.00"])
def test_what_is_neither_is_refused_with_what_is_allowed(text: str) -> None:
    """A deadline that nobody understood was taken for none."""
    with pytest.raises(DurationFault) as refused:
        check_deadline(text)
    assert "08:00" in refused.value.hint
    with pytest.raises(Refusal):
        amend_policy(Policy(), [f"limits.deadline={text}"])


def test_the_schedulers_end_is_known_by_itself() -> None:
    """Inside a Slurm job nobody writes the job's end into a campaign file; an environment of yesterday's job lies."""
    end = int(NOW + 4 * 3600)
    assert deadline_seconds(None, {"SLURM_JOB_END_TIME": str(end)}, NOW) == pytest.approx(4 * 3600)
    assert deadline_seconds("none", {"SLURM_JOB_END_TIME": str(end)}, NOW) is None
    assert deadline_seconds("1h", {"SLURM_JOB_END_TIME": str(end)}, NOW) == 3600
    for stale in (str(end - 86_400), "soon", ""):
        assert deadline_seconds(None, {"SLURM_JOB_END_TIME": stale}, NOW) is None
    assert deadline_seconds(None, {}, time.time()) is None
