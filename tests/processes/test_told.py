"""Told, once, by real supervisors that really die."""

import os
import signal
import sys
from pathlib import Path

from campaign_world import Ground, ground
from keeper_world import await_that, processes_of

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "notify"))
from web_world import web

__all__ = ["ground"]


def tell(ground: Ground, text: str) -> None:
    """The person's own file."""
    path = ground.base / "config.toml"
    path.write_text(text)
    ground.env["OVERNIGHT_CONFIG"] = str(path)


def test_the_end_is_told_by_the_supervisor_that_comes_after(ground: Ground) -> None:
    """Guards against a notice that dies with the supervisor which was delivering it."""
    with web("hang", 200) as server:
        tell(ground, f'[notify]\nwebhook = "{server.url}"\n')
        campaign = ground.launch("--", "true")
        server.wait_for(1)  # it hangs there, and the campaign's end is committed
        os.kill(ground.supervisor(), signal.SIGKILL)
        server.wait_for(2)
        assert {heard["body"]["key"] for heard in server.heard} == {f"{campaign}/end/1"}
        await_that(lambda: not _owed(ground))
        os.kill(ground.supervisor(), signal.SIGKILL)
        ground.overnight("launch", "--wait", "--name", "other", "--", "true")
        server.wait_for(3)
        assert "other" in server.heard[2]["body"]["key"], "what was told is not told again"
        assert server.heard[1]["body"]["title"] == "true: ended: done"


def _owed(ground: Ground) -> list[object]:
    from overnight.store import ReadStore

    store = ReadStore(str(ground.state / "overnight.db"))
    try:
        return list(store.owed_notices())
    finally:
        store.close()


def test_a_command_that_hangs_keeps_no_run_waiting(ground: Ground) -> None:
    """Guards against a mailer that waits for a password, and a night that waits for the mailer."""
    tell(ground, f'[notify]\ncommand = "touch {ground.base}/asked; sleep 7401"\n')
    ground.launch("--name", "first", "--", "true")
    await_that((ground.base / "asked").exists)
    begun = ground.holder["beat"]
    ground.overnight("launch", "--wait", "--name", "second", "--", "true")
    assert ground.holder["beat"] > begun
    assert processes_of("sleep\x007401"), "it still hangs, and nobody waited"


def test_the_address_hears_from_us_while_somebody_watches(ground: Ground) -> None:
    """Guards against a dead man's switch that nobody presses, and one that goes on without a supervisor."""
    with web(200) as server:
        tell(ground, f'[ping]\nurl = "{server.url}"\nevery = "10s"\n')
        ground.launch("--", "sleep", "60")
        server.wait_for(1)
        assert server.heard[0]["body"] is None
        ground.overnight("supervisor", "stop")
        heard = len(server.heard)
        ground.overnight("supervisor", "start")
        server.wait_for(heard + 1)


def test_a_rebuild_tells_nobody_of_last_month(ground: Ground) -> None:
    """Guards against a database made anew from the files that announces every end there ever was."""
    with web(200) as server:
        tell(ground, f'[notify]\nwebhook = "{server.url}"\n')
        ground.overnight("launch", "--wait", "--name", "old", "--set", "retry.max_attempts=1", "--", "false", code=1)
        server.wait_for(1)
        await_that(lambda: not _owed(ground))
        ground.overnight("supervisor", "stop")
        for path in ground.state.glob("overnight.db*"):
            path.unlink()
        ground.overnight("rebuild")
        ground.overnight("launch", "--wait", "--name", "new", "--", "true")
        server.wait_for(2)
        assert [heard["body"]["key"].split("-")[0] for heard in server.heard] == ["old", "new"]
