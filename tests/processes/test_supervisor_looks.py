"""What the looks at a live run have seen is not lost with its attempt."""

import os
import signal
import time

from campaign_world import document, ground, lines
from keeper_world import await_that

from overnight.store import ReadStore

__all__ = ["ground"]


def test_a_campaign_learns_from_the_gaps_of_what_succeeded(ground):
    """Guards against `auto` limits that know nothing of the siblings: every first long evaluation is a stall."""
    # A look a second sees the gap as two to four seconds; the last step is there for another second or two.
    script = "echo step 1; echo step 2; sleep 3; echo step 3; sleep 2"
    campaign = ground.overnight("launch", "--wait", "--json", "--", "sh", "-c", script).document["campaign"]
    store = ReadStore(ground.state / "overnight.db")
    record = store.campaign(campaign)
    store.close()
    assert record is not None
    (attempt,) = ground.summary(campaign, "run-1")["attempts"]
    assert 1.0 < record.longest_gap < attempt["seconds"]
    assert 1.0 < record.longest_quiet < attempt["seconds"]


def test_a_killed_shim_does_not_make_time_unspent(ground):
    """Guards against a run whose shims the kernel kills in turn: its timeout would never add up."""
    script = "n=0; until [ -e over ]; do n=$((n + 1)); echo step $n; sleep 0.1; done"
    campaign = ground.launch("--set", "retry.backoff.first=100ms", "--", "sh", "-c", script)
    attempt = ground.attempt(campaign, "run-1")
    started = document(attempt / "started")
    await_that(lambda: time.monotonic() > started["mono"] + 3.0 and len(lines(attempt / "output.log")) > 15)
    os.kill(started["pid"], signal.SIGKILL)
    lived = time.monotonic() - started["mono"]
    ground.file("over", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    first, second = ground.summary(campaign, "run-1")["attempts"]
    assert (first["class"], first["ended_by"], second["ended_by"]) == ("unknown", "lost", "itself")
    assert lived / 2 < first["seconds"] < time.monotonic() - started["mono"], "all but what no look has seen"
