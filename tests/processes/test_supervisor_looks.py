"""What the looks at a live run have seen is not lost with its attempt."""

import json
import os
import signal

from campaign_world import ground, lines
from keeper_world import await_that

from overnight.store import ReadStore

__all__ = ["ground"]


def test_a_campaign_learns_from_the_gaps_of_what_succeeded(ground):
    """Guards against `auto` limits that know nothing of the siblings: every first long evaluation is a stall."""
    script = "echo step 1; echo step 2; sleep 1.5; echo step 3; sleep 1.2; echo step 4"
    campaign = ground.overnight("launch", "--wait", "--json", "--", "sh", "-c", script).document["campaign"]
    store = ReadStore(ground.state / "overnight.db")
    record = store.campaign(campaign)
    store.close()
    assert record is not None
    assert 1.0 < record.longest_gap < 4
    assert 1.0 < record.longest_quiet < 4


def test_a_killed_shim_does_not_make_time_unspent(ground):
    """Guards against a run whose shims the kernel kills in turn: its timeout would never add up."""
    script = "n=0; while [ $n -lt 20 ]; do n=$((n + 1)); echo step $n; sleep 0.1; done"
    campaign = ground.launch("--set", "retry.backoff.first=100ms", "--", "sh", "-c", script)
    attempt = ground.attempt(campaign, "run-1")
    await_that(lambda: len(lines(attempt / "output.log")) > 15)
    os.kill(json.loads((attempt / "started").read_text())["pid"], signal.SIGKILL)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    first, second = ground.summary(campaign, "run-1")["attempts"]
    assert (first["class"], first["ended_by"], second["ended_by"]) == ("unknown", "lost", "itself")
    assert 0.5 < first["seconds"] < 2.5
