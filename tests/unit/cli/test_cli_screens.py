"""Screens: nothing is wider than the terminal it is shown in, and names stay apart."""

import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn

from overnight.cli import live, speak, status
from overnight.cli.watch import eta
from overnight.model.codec import replace
from overnight.model.reports import Need, ProgressReport, RunReport, StatusReport, SupervisorReport

LONG = "fineweb10B-cvres-mhc-48l-identity-mix-orthostochastic-s"
GIVE = ((0, 28), (2, 16))


def on_a_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """What `overnight ARGUMENTS` shows on a terminal that wide."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    ours_alone = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "overnight", *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env={**ours_alone, "TERM": "xterm", "NO_COLOR": "1", **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_a_page_fits_its_terminal(standin: StandIn, overnight: Overnight) -> None:
    """At 80 columns each row of a real sweep broke into two, and the words of a need in the middle of a word."""
    Path("s.csv").write_text("run_id,x\n" + "".join(f"{LONG}{n},{n}\n" for n in range(1337, 1341)))
    assert overnight("launch", "--runs", "s.csv", "--name", "bat", "--", "true", "{x}", "{out_dir}").code == 0
    standin.ends(failing={f"{LONG}{n}": "code" for n in (1337, 1338)})
    lines = on_a_terminal(80, "status", "bat", "--all").splitlines()
    rows = [line for line in lines if line.startswith("  fineweb")]
    assert len(rows) == 4
    assert [row for row in lines if len(row) > 80 and "/campaigns/" not in row] == []
    assert all(f"s{n}" in row for n, row in zip(range(1337, 1341), rows, strict=True)), rows
    need = on_a_terminal(72, "status", "bat").split("needs you\n")[1].split("\n      overnight")[0]
    assert len(need.splitlines()) > 1
    assert all(len(line) <= 72 and line.startswith("  ") for line in need.splitlines())
    assert f"{LONG}1340" in overnight("status", "bat", "--all").out, "a pipe gets whole names"


def test_the_list_of_campaigns_fits_its_terminal(standin: StandIn, overnight: Overnight) -> None:
    """Under a long path each campaign of the list broke into two lines."""
    assert len(str(standin.state)) > 60
    for name in ("bat", "cow"):
        assert overnight("launch", "--name", name, "--", "true", "{out_dir}").code == 0
    lines = on_a_terminal(80, "status").splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 and "1 run: 1 pending" in line for line in lines), lines
    assert str(standin.state.parent) in overnight("status").out, "a pipe gets whole paths"


def test_results_and_report_fit_their_terminal(standin: StandIn, overnight: Overnight) -> None:
    """A sweep's table of nine columns broke each row in two, and the command to copy in the middle of a name."""
    heads = "run_id,optimizer,learning_rate,warmup_steps,weight_decay\n"
    rows = "".join(f"{LONG}{n},adamw,0.00{n},{n},0.1\n" for n in range(1337, 1341))
    Path("s.csv").write_text(heads + rows)
    command = ("train", "{optimizer}", "{learning_rate}", "{warmup_steps}", "{weight_decay}", "{out_dir}")
    assert overnight("launch", "--runs", "s.csv", "--name", "bat", "--", *command).code == 0
    standin.ends(failing={f"{LONG}{n}": "timeout.attempt" for n in (1337, 1338)})
    lines = on_a_terminal(80, "results", "bat", "--all").splitlines()
    assert [line for line in lines if len(line) > 80 and "/campaigns/" not in line] == []
    assert lines[1].split() == ["run_id", "learning_rate", "state", "class"]
    assert "no room here for optimizer, warmup_steps, weight_decay, time; --csv" in " ".join(lines)
    assert all(f"s{n}" in line for n, line in zip(range(1337, 1341), lines[2:6], strict=True)), lines
    told = overnight("results", "bat", "--all").out
    assert "no room" not in told and "weight_decay" in told, "a pipe gets every column"
    shown = on_a_terminal(80, "report").splitlines()
    assert shown[1].split() == ["class", "attempts", "runs", "GPU-hours", "lost", "last"]
    command_line = f"      overnight why {json.loads(overnight('status', 'bat', '--json').out)['campaign']} {LONG}1338"
    assert shown[3] == command_line


HOSTILE = "\x1bc\x1b]0;mine\x07 \x9b2J\x08 \x1b[8mboo \u202eten"
OBEYED = ("\x1b[8m", "\x1bc", "\x1b]", "\x07", "\x9b", "\x08", "\u202e")


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_what_a_run_printed_is_shown_and_not_obeyed(standin: StandIn, overnight: Overnight, no_colour: str) -> None:
    """A log line with a reset in it cleared the terminal of whoever asked `status` why the run had failed."""
    Path("s.csv").write_text(f"run_id,x\na,{HOSTILE}\nb,2\n")
    assert overnight("launch", "--runs", "s.csv", "--name", "bat", "--", "true", "{x}", "{out_dir}").code == 0
    standin.ends(failing={"a": "code"}, said=HOSTILE)
    for arguments in (("status", "bat"), ("why", "bat", "a"), ("results", "bat", "--all")):
        shown = on_a_terminal(200, *arguments, NO_COLOR=no_colour)
        assert [mark for mark in OBEYED if mark in shown] == [], shown
        assert "\\x1bc\\x1b]0;mine\\x07" in shown
    document = json.loads(overnight("why", "bat", "a", "--json").out)
    assert document["attempts"][0]["message"] == HOSTILE, "programs get it as it was"
    assert HOSTILE in overnight("results", "bat", "--all", "--csv").out


def test_the_live_page_obeys_no_run_either() -> None:
    """The same line, in the reason that `watch` shows beside a run and below the table."""
    drawn = live._line(HOSTILE, "", 200).plain + speak.laid_out([(HOSTILE, "x")], None, ())[0][0]
    assert [mark for mark in OBEYED if mark in drawn] == []


def test_columns_stand_below_each_other_in_every_script() -> None:
    """A parameter in Chinese takes two columns a character: everything behind it stood elsewhere than its heading."""
    rows = [("prompt", "loss"), ("日本語", "2.1"), ("e\u0301te", "2.2")]
    lines = speak.laid_out(rows, None, ())
    assert [speak.wide(line[0]) for line in lines] == [6, 6, 6]
    assert speak.laid_out([("a", "日本語日本語")], 9, ((1, 4),))[0][1] == "日本… "


def test_columns_give_way_in_order() -> None:
    """A clipped name loses its middle: the seed at its end is what tells runs apart."""
    rows = [(f"{LONG}1337", "", "network: again in 41 s (after an outage)"), ("b", "", "x")]
    assert speak.laid_out(rows, None, GIVE)[0] == [rows[0][0], "", rows[0][2]]
    line = speak.laid_out(rows, 50, GIVE)[0]
    assert [len(cell) for cell in line] == [28, 0, 20]
    assert line[0].endswith("ostochastic-s1337"[-13:]) and "…" in line[0]
    assert line[2].endswith("…")
    assert [len(cell) for cell in speak.laid_out(rows, 10, GIVE)[0]] == [28, 0, 16]


def test_the_command_to_type_is_never_cut() -> None:
    """`needs you: 96 runs are held: data.missing (/mnt/data/…): overnight res…` at three in the morning."""
    need = Need("96 runs are held: data.missing (/mnt/data/fineweb10B/val)", "", "overnight resume bat-4k2xq9m1t7")
    assert [line.plain for line in live._need(need, 200)] == [f"needs you: {need.what}: {need.command}"]
    first, second = live._need(need, 60)
    assert first.plain.endswith("…") and len(first.plain) == 60
    assert second.plain == f"  {need.command}"


def test_what_is_left_is_reckoned_from_runs_that_succeeded() -> None:
    """`about 6 min left` for hours, after a campaign of yesterday was amended: the reckoning went by its birthday."""

    def left(typical: float | None, slots: int, **counts: int) -> float | None:
        return eta(report(slots, counts), typical)

    assert left(None, 2, pending=5) is None
    assert left(60.0, 2, succeeded=7, failed=1) is None
    assert left(60.0, 2, succeeded=1, running=2, pending=4) == 150.0
    assert left(60.0, 8, running=2) == 30.0
    paused = replace(report(2, {"running": 1, "pending": 9}), state="paused")
    assert eta(paused, 60.0) is None, "what waits waits for a person"


def test_nobody_who_looks_no_life() -> None:
    """`life 3 s ago` stood beside a run whose supervisor had been dead since midnight."""
    progress = ProgressReport(40.0, 100.0, 2.0)
    run = RunReport("a", "running", 1, progress=progress, attempt_state="running", slot="gpu:0", quiet_seconds=3.0)
    assert status.row(run, True) == ("a", "running", "", "40/100 (40 %)", "2/s", "gpu:0", "life 3 s ago")
    assert status.row(run, False) == ("a", "running", "", "40/100 (40 %)", "", "gpu:0", "")


def report(slots: int, counts: dict[str, int]) -> StatusReport:
    """A status with nothing but counts."""
    return StatusReport(
        campaign="c-1", state="active", counts=counts, failures={}, supervisor=SupervisorReport(True, 1),
        runs_total=sum(counts.values()), runs=(), slots=slots,
    )  # fmt: skip
