"""Following a run's output while its file is not as quiet as one would like."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.api import logs
from overnight.api.campaign import Campaign
from overnight.api.places import Place
from overnight.model.run import Attempt, Run, Slot
from overnight.model.states import AttemptState, RunState
from overnight.model.time import Moment

ATTEMPT = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("cpu:0"), Moment(0.0, 0.0))


def test_a_log_that_is_begun_anew_or_gone_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program truncated its own log, and who followed it saw nothing more until that was as long as before; on a
    network root the file moved between a look and its opening, and the following ended with an internal error."""
    log = tmp_path / "output.log"
    looks = [
        ("running", b"epoch 1\nepoch 2\n"),
        ("running", b"anew\n"),
        ("running", None),
        ("succeeded", b"anew\nend\n"),
    ]

    def worlds() -> Iterator[Run]:
        for state, content in looks:
            if content is None:
                log.unlink()
            else:
                log.write_bytes(content)
            yield Run("bat-1", "a", 0, RunState(state), attempts=(ATTEMPT,))

    coming = worlds()
    monkeypatch.setattr(logs, "_run", lambda campaign, run_id: next(coming))
    monkeypatch.setattr(logs, "_path", lambda campaign, run_id, n: log)
    monkeypatch.setattr(logs, "FOLLOW_SECONDS", 0.0)
    campaign = Campaign("bat-1", Place(str(tmp_path), str(tmp_path)))
    pieces = [piece for piece in logs.follow(campaign, "a") if isinstance(piece, bytes)]
    assert pieces == [b"epoch 1\nepoch 2\n", b"anew\n", b"end\n"]
