"""The watcher is watched: by systemd's own unit, or by a line of a crontab.

`crontab` and `systemctl` are stand-ins on PATH here: they keep what they are told in a directory of the test's. The
real cron, and systemd's reading of the unit, have tests in the provoked lane.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import Ground, ground
from keeper_world import alive, await_that, processes_of

from overnight.supervisor import units
from overnight.supervisor.keep import keeper_command

__all__ = ["ground"]

CRONTAB = """#!/bin/sh
echo "crontab $*" >> "$SPOOL/asked"
case "$1" in
-l) [ -e "$SPOOL/table" ] || { echo "no crontab for somebody" >&2; exit 1; }; cat "$SPOOL/table" ;;
-r) rm "$SPOOL/table" ;;
-) cat > "$SPOOL/table" ;;
esac
"""
NO_SYSTEMD = "#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n"
SYSTEMCTL = '#!/bin/sh\necho "$*" >> "$SPOOL/asked"\n'
LOGINCTL = "#!/bin/sh\necho no\n"


def stand_in(ground: Ground, **programs: str) -> Path:
    """These programs come first on PATH; where they keep their things."""
    spool, folder = ground.base / "spool", ground.base / "bin"
    for each in (spool, folder):
        each.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    ground.env |= {"PATH": f"{folder}:{os.environ['PATH']}", "SPOOL": str(spool)}
    ground.env["XDG_CONFIG_HOME"] = str(ground.base / "config")
    return spool


@pytest.fixture
def spool(ground: Ground) -> Path:
    """A machine with cron and without systemd."""
    ground.root.mkdir(parents=True, exist_ok=True)
    return stand_in(ground, crontab=CRONTAB, systemctl=NO_SYSTEMD, loginctl=NO_SYSTEMD)


def cron_minute(table: str) -> None:
    """What cron does each minute: every command by sh, with nearly no environment, from the home directory."""
    for line in table.splitlines():
        if line.startswith("* * * * * "):
            command = line.removeprefix("* * * * * ").replace("\\%", "%")
            bare = {"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh", "LOGNAME": "somebody"}
            subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", check=True, timeout=20)


def both_killed(ground: Ground) -> int:
    """Kill keeper and supervisor; the term that has ended."""
    term, keeper, supervisor = int(ground.holder["term"]), ground.keeper(), ground.supervisor()
    os.kill(keeper, signal.SIGSTOP)  # neither can bring the other back
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGKILL)
    await_that(lambda: not alive(keeper) and not alive(supervisor))
    return term


def patient(ground: Ground) -> str:
    """A command that waits for the file `go`, and tells whether anybody signalled it."""
    told = ground.base / "told"
    wait = f"until [ -e {ground.base}/go ]; do sleep 0.1; done"
    return f"trap 'echo harmed >> {told}' TERM INT HUP; {wait}; echo done >> {told}"


# --- cron --------------------------------------------------------------------------------------------------


def test_shown_first_and_written_only_when_agreed(ground: Ground, spool: Path) -> None:
    """Guards against a program that writes into people's crontabs unasked."""
    answer = ground.overnight("supervisor", "install", "--dry-run")
    assert (
        "your crontab gets:" in answer.out and "* * * * * [ -e " in answer.out and "nothing was written" in answer.out
    )
    refused = ground.overnight("supervisor", "install", code=2)
    assert "nobody agreed" in refused.err and "--yes" in refused.err
    assert ground.overnight("supervisor", "install", "--json", code=2).document["hint"].startswith("add --yes")
    assert not (spool / "table").exists()


def test_it_is_idempotent_and_leaves_the_lines_of_others_alone(ground: Ground, spool: Path) -> None:
    """Guards against a second line at each install, and against a lost backup job."""
    others = "MAILTO=me\n# mine\n0 3 * * * backup 100\\% # overnight-ish"
    (spool / "table").write_text(others)
    first = ground.overnight("supervisor", "install", "--yes", "--json").document
    assert (first["method"], first["changed"], first["installed"]) == ("cron", True, True)
    table = (spool / "table").read_text()
    assert table == f"{others}\n{first['text']}\n"
    again = ground.overnight("supervisor", "install", "--json").document
    assert (again["changed"], again["installed"]) == (False, True)
    assert (spool / "table").read_text() == table
    assert "would be removed: cron" in ground.overnight("supervisor", "install", "--uninstall", "--dry-run").out
    assert (spool / "table").read_text() == table
    ground.overnight("supervisor", "install", "--uninstall")
    assert (spool / "table").read_text() == f"{others}\n"
    assert "nothing was installed" in ground.overnight("supervisor", "install", "--uninstall").out


def test_roots_side_by_side(ground: Ground, spool: Path) -> None:
    """Guards against an install for one root that takes another one's away."""
    other = ground.base / "other 100% root's"
    other.mkdir()
    ground.overnight("supervisor", "install", "--yes")
    ground.overnight("supervisor", "install", "--yes", "--root", other)
    assert len((spool / "table").read_text().splitlines()) == 2
    ground.overnight("supervisor", "install", "--uninstall")
    (line,) = (spool / "table").read_text().splitlines()
    assert "other 100\\% root" in line
    ground.overnight("supervisor", "install", "--uninstall", "--root", other)
    assert not (spool / "table").exists(), "what was empty before is empty again"


def test_both_killed_and_the_minute_brings_them_back(ground: Ground, spool: Path) -> None:
    """Guards against a `kill -9` of everything at midnight that is found in the morning: no client is there."""
    campaign = ground.launch("--", "sh", "-c", patient(ground))
    ground.overnight("supervisor", "install", "--yes")
    await_that(lambda: ground.counts(campaign).get("running"))
    table = (spool / "table").read_text()
    cron_minute(table)
    supervisor = ground.supervisor()
    term = both_killed(ground)
    cron_minute(table)
    assert ground.in_control(term) != supervisor
    cron_minute(table)
    (ground.base / "go").touch()
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert (ground.base / "told").read_text() == "done\n"
    # Those of the other minutes have seen that there is one, and went.
    await_that(lambda: processes_of(f"overnight.keeper\0--state\0{ground.state}") == [ground.keeper()])


def test_the_minute_respects_a_stop(ground: Ground, spool: Path) -> None:
    """Guards against a timer that brings back what a person has just sent away."""
    ground.launch("--", "true")
    ground.overnight("supervisor", "install", "--yes")
    ground.overnight("supervisor", "stop")
    pid = ground.holder["pid"]
    await_that(lambda: not processes_of(f"--state\0{ground.state}"))
    cron_minute((spool / "table").read_text())
    assert processes_of(f"--state\0{ground.state}") == [] and ground.holder["pid"] == pid


def test_a_path_that_no_crontab_can_hold(ground: Ground, spool: Path) -> None:
    """Guards against a root's name that becomes a second line of somebody's crontab."""
    other = ground.base / "two\nlines"
    other.mkdir()
    refused = ground.overnight("supervisor", "install", "--yes", "--root", other, code=2)
    assert "control character" in refused.err and not (spool / "table").exists()


def test_neither_systemd_nor_cron(ground: Ground, spool: Path) -> None:
    """Guards against words of success on a machine where nothing brings anybody back."""
    folder = ground.base / "bare"
    folder.mkdir()
    for name in ("sh", "systemctl"):
        (folder / name).symlink_to(shutil.which(name, path=ground.env["PATH"]) or name)
    env = ground.env | {"PATH": str(folder)}
    refused = ground.overnight("supervisor", "install", "--yes", env=env, code=4)
    assert "neither systemd for users nor cron" in refused.err


# --- systemd -----------------------------------------------------------------------------------------------


def test_a_unit_where_systemd_serves_users(ground: Ground) -> None:
    """Guards against a unit whose end kills the runs, or that a logout ends without a word."""
    ground.root.mkdir(parents=True)
    spool = stand_in(ground, systemctl=SYSTEMCTL, loginctl=LOGINCTL, crontab=CRONTAB)
    answer = ground.overnight("supervisor", "install", "--yes")
    assert "loginctl enable-linger" in answer.err
    (path,) = (ground.base / "config" / "systemd" / "user").iterdir()
    words = path.read_text().splitlines()
    assert {"KillMode=process", "OOMPolicy=continue", "Restart=always", "Delegate=yes"} <= set(words)
    assert f"ConditionHost={os.uname().nodename}" in words
    assert f"--user enable --now {path.name}" in (spool / "asked").read_text()
    ground.overnight("supervisor", "install", "--uninstall")
    assert not path.exists()
    assert f"--user disable --now {path.name}" in (spool / "asked").read_text()


class Manager:
    """What systemd does with the unit: starts it anew whenever it ends."""

    def __init__(self, ground: Ground) -> None:
        command = [*keeper_command(ground.root, ground.state), "--stay", "yes"]
        env = ground.env | units.carried(ground.env)
        self._stay = ground.state / "keeper.stay"
        self._start = lambda: subprocess.Popen(command, env=env, cwd="/", start_new_session=True)
        self.running = self._start()

    def restart(self) -> None:
        """`Restart=always`, once it has ended by itself."""
        assert self.running.wait(20) == 0
        self.running = self._start()
        await_that(self.waits)

    def waits(self) -> bool:
        """Whether it is here, and clients leave the keeping to it."""
        return self._stay.exists() and self._stay.read_text() == f"{self.running.pid}\n"


@pytest.fixture
def manager(ground: Ground) -> Iterator[Manager]:
    """A keeper that stays, beside the client's own."""
    ground.launch("--", "true")
    made = Manager(ground)
    await_that(made.waits)
    yield made
    made.running.terminate()
    made.running.wait(20)


def test_the_unit_waits_for_its_turn_and_takes_it(ground: Ground, manager: Manager) -> None:
    """Guards against a unit that gives up because a client was first, and is not there when that one dies."""
    assert ground.keeper() != manager.running.pid
    term = both_killed(ground)
    ground.in_control(term)
    await_that(lambda: ground.keeper_pid() == manager.running.pid)


def test_the_unit_respects_a_stop_and_comes_back_for_work(ground: Ground, manager: Manager) -> None:
    """Guards against `Restart=always` that undoes a stop, and against a client's keeper that dies with its session."""
    both_killed(ground)
    await_that(lambda: ground.keeper_pid() == manager.running.pid)
    ground.supervisor()
    ground.overnight("supervisor", "stop")
    manager.restart()
    assert not alive(ground.holder["pid"]) and manager.running.poll() is None
    ground.overnight("launch", "--wait", "--name", "more", "--", "true")
    assert ground.keeper() == manager.running.pid
    # One that a client brought up, since the unit took its time, has seen that there is one, and went.
    await_that(lambda: processes_of(f"overnight.keeper\0--state\0{ground.state}") == [manager.running.pid])


def test_stopping_the_unit_harms_no_run(ground: Ground, manager: Manager) -> None:
    """Guards against `systemctl restart`, or an upgrade, that ends a night's work."""
    both_killed(ground)
    await_that(lambda: ground.keeper_pid() == manager.running.pid)
    campaign = ground.launch("--name", "long", "--", "sh", "-c", patient(ground))
    await_that(lambda: ground.counts(campaign).get("running"))
    term = int(ground.holder["term"])
    manager.running.send_signal(signal.SIGTERM)
    manager.restart()
    ground.in_control(term)
    (ground.base / "go").touch()
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert (ground.base / "told").read_text() == "done\n"


def test_a_waiting_unit_ends_when_told(ground: Ground, manager: Manager) -> None:
    """Guards against a stop of the unit that lasts until systemd's KILL."""
    assert ground.keeper() != manager.running.pid
    manager.running.terminate()
    assert manager.running.wait(5) == -signal.SIGTERM
