"""Whether somebody is watching: only if that very process lives, here."""

import json
import os
import signal
import subprocess
import sys

import pytest

from overnight.artifacts import holder as identity
from overnight.model.reports import SupervisorReport
from overnight.queries import supervisor_report


@pytest.fixture
def process():
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield child
    child.kill()
    child.wait()


def write(state, pid, **changes):
    line = {
        "pid": pid, "start_ticks": identity._start_ticks(pid), "boot": identity.boot_id(),
        "pidns": identity._pid_namespace(), "init_start": identity._start_ticks(1) or 0,
        "hostname": os.uname().nodename, "term": 3, "beat": 12, "watch_only": False, **changes,
    }  # fmt: skip
    (state / "lock").write_bytes(json.dumps(line).ljust(511).encode() + b"\n")


def test_a_live_one(tmp_path, process):
    """Guards against a supervisor that works being reported dead."""
    write(tmp_path, process.pid)
    assert supervisor_report(tmp_path) == SupervisorReport(alive=True, pid=process.pid)
    write(tmp_path, process.pid, watch_only=True)
    assert supervisor_report(tmp_path).watch_only


def test_another_process_of_that_number(tmp_path, process):
    """Guards against a reused process number taken for the supervisor for a whole night."""
    write(tmp_path, process.pid, start_ticks=1)
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False)
    write(tmp_path, process.pid, boot="another boot of this host")
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False)


def test_a_zombie_is_dead(tmp_path, process):
    """Guards against a container whose PID 1 never reaps keeping a dead supervisor alive on the screen."""
    write(tmp_path, process.pid)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False)


def test_elsewhere_is_said(tmp_path, process):
    """Guards against "dead" for what merely cannot be seen from this host or container."""
    write(tmp_path, process.pid, boot="b", hostname="node17")
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False, words="it was last on host node17: ask there")
    write(tmp_path, process.pid, pidns="1")
    assert "another container" in supervisor_report(tmp_path).words


def test_nobody_is_to_watch_is_said(tmp_path, process):
    """A host that had been frozen while another took its root over told of its runs as if they were still its own."""
    why = "host beta leads this root, in term 2"
    write(tmp_path, process.pid, start_ticks=1)
    (tmp_path / "stopped").write_text(f"{why}\n")
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False, words=why)
    write(tmp_path, process.pid)
    assert supervisor_report(tmp_path).words == "", "somebody does"


def test_no_lock_and_a_torn_one(tmp_path):
    """Guards against a traceback where nothing was ever started, or while the line is being written."""
    assert supervisor_report(tmp_path) == SupervisorReport(alive=False)
    (tmp_path / "lock").write_bytes(b'{"pid": 12, "st')
    report = supervisor_report(tmp_path)
    assert (report.alive, report.words.startswith("its lock file cannot be read")) == (False, True)
