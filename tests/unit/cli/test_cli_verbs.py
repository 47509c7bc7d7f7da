"""The verbs, typed against a stand-in supervisor."""

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn

from overnight.api import waiting
from overnight.artifacts import remember_root
from overnight.artifacts.lease import Lease, take_lease
from overnight.model import requests as r
from overnight.supervisor import keep

ROWS = "run_id,seed\na,0\nb,1\nc,2\n"
TYPED = ("launch", "--runs", "sweep.csv", "--name", "bat")
COMMAND = ("--", "python", "train.py", "--seed", "{seed}", "--out", "{out_dir}")


@pytest.fixture(autouse=True)
def sweep(own_world: None) -> None:
    """Rows to launch."""
    Path("sweep.csv").write_text(ROWS)


def launched(overnight: Overnight) -> str:
    said = overnight(*TYPED, "--json", *COMMAND)
    assert said.code == 0, said
    name: str = json.loads(said.out)["campaign"]
    return name


def test_launch_closes_with_what_holds_and_what_to_type(standin: StandIn, overnight: Overnight) -> None:
    """Guards against going to bed without knowing what bounds the night."""
    said = overnight(*TYPED, *COMMAND)
    assert said.code == 0
    assert "3 runs, 1 at a time without GPUs" in said.out
    assert "limits: timeout 24 h a run, startup 60 min, heartbeat auto, progress auto, grace 30 s" in said.out
    for command in ("overnight watch bat-", "overnight status bat-", "overnight logs bat-"):
        assert command in said.out
    assert said.err == ""


def test_launch_json_is_the_contract(standin: StandIn, overnight: Overnight, root: Path) -> None:
    """Guards against scripts that break because a key was renamed."""
    document = json.loads(overnight(*TYPED, "--json", *COMMAND).out)
    assert sorted(document) == ["campaign", "manifest_sha256", "root", "runs"]
    assert document["runs"] == 3
    assert document["root"] == str(root)
    assert len(document["manifest_sha256"]) == 64


def test_what_stands_behind_the_dashes_is_the_command(standin: StandIn, overnight: Overnight) -> None:
    """Guards against our own options being taken out of the program's arguments."""
    said = overnight("launch", "--json", "--", "python", "x.py", "--json", "--root", "/x", "--", "-h")
    assert said.code == 0
    (request,) = standin.requests
    assert isinstance(request, r.Launch)
    assert request.frozen.manifest.command == ("python", "x.py", "--json", "--root", "/x", "--", "-h")


def test_dry_run_shows_commands_and_writes_nothing(overnight: Overnight, tmp_path: Path) -> None:
    """Guards against finding a wrong placeholder in the morning."""
    before = sorted(tmp_path.rglob("*"))
    said = overnight(*TYPED, "--dry-run", *COMMAND)
    assert said.code == 0
    assert "python train.py --seed 2 --out" in said.out
    document = json.loads(overnight(*TYPED, "--dry-run", "--json", *COMMAND).out)
    assert [row["run_id"] for row in document["commands"]] == ["a", "b", "c"]
    assert sorted(tmp_path.rglob("*")) == before


def test_warnings_go_to_stderr(standin: StandIn, overnight: Overnight) -> None:
    """Guards against rows that overwrite each other, and against warnings in a script's data."""
    said = overnight("launch", "--", "true")
    assert "warning: " in said.err
    assert "{out_dir}" in said.err
    assert "{out_dir}" not in said.out


def test_a_policy_that_is_not_obeyed_is_said_with_what_would_be(standin: StandIn, overnight: Overnight) -> None:
    """The file's new limit did not hold for a campaign that was there, and the command to make it so answered that
    nothing had been named."""
    file = Path("my sweep.toml")
    file.write_text('name = "bat"\ncommand = ["true", "{seed}", "{out_dir}"]\nruns = "sweep.csv"\n')
    assert overnight("launch", str(file)).code == 0
    file.write_text(file.read_text() + '[limits]\ntimeout = "2h"\n')
    said = overnight("launch", str(file))
    typed = said.err.partition(": overnight ")[2].splitlines()[0]
    assert "limits.timeout: 24h became 2h" in said.err and typed.endswith(" 'my sweep.toml'")
    assert overnight(*shlex.split(typed)).code == 0
    amended = standin.requests[-1]
    assert isinstance(amended, r.Amend) and amended.policy is not None and amended.policy.limits.timeout == 7200.0


def test_status_says_first_what_needs_a_person(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a morning page where the failure is on the second screen."""
    name = launched(overnight)
    standin.ends(failing={"b": "code"})
    said = overnight("status", name)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{name}  failed  3 runs: 1 failed, 2 succeeded")
    assert "needs you" in said.out
    assert f"overnight retry {name}" in said.out


def test_status_without_a_name(standin: StandIn, overnight: Overnight) -> None:
    """Guards against having to copy a name when there is only one campaign."""
    assert overnight("status").out == "no campaigns yet; overnight launch starts one\n"
    name = launched(overnight)
    assert overnight("status").out.startswith(f"{name}  active")
    standin.ends()
    said = overnight("status")
    assert said.out.startswith(f"{name}  succeeded")
    assert "3 succeeded" in said.out


def test_status_pages(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a page of 100,000 runs."""
    name = launched(overnight)
    page = json.loads(overnight("status", name, "--json", "--limit", "2").out)
    assert [run["run_id"] for run in page["runs"]] == ["a", "b"]
    rest = json.loads(overnight("status", name, "--json", "--after", page["next_after"]).out)
    assert [run["run_id"] for run in rest["runs"]] == ["c"]
    assert json.loads(overnight("status", name, "--json", "--state", "failed").out)["runs"] == []
    first = overnight("status", name, "--limit", "1", "--state", "pending").out
    more = first.splitlines()[-1].removeprefix("more: overnight ")
    assert "  a  pending" in first and "  b  pending" in overnight(*more.split()).out, "the same question, further on"
    assert "  b  " not in overnight("status", name, "--limit", "1").out


def test_a_root_that_cannot_be_read_is_named(standin: StandIn, overnight: Overnight, tmp_path: Path) -> None:
    """The database of one root was damaged: `status` told of the others alone, and nobody missed the campaign in it."""
    bad = tmp_path / "elsewhere"
    (bad / ".state").mkdir(parents=True)
    (bad / ".state" / "overnight.db").write_bytes(b"no database " * 100)
    assert remember_root(bad, "lost-1")
    name = launched(overnight)
    standin.ends()
    said = overnight("status")
    assert said.code == 0 and said.out.startswith(f"{name}  succeeded")
    assert said.err.startswith(f"warning: {bad} is left out: ")
    (unread,) = json.loads(overnight("status", "--json").out)["unread"]
    assert unread["root"] == str(bad)


def test_a_root_that_another_host_leads_is_not_called_empty(overnight: Overnight, tmp_path: Path) -> None:
    """`no campaigns yet` was the answer on the login node for forty that ran on the GPU box, on the same volume."""
    root = tmp_path / "shared runs"
    root.mkdir()
    assert take_lease(str(root), Lease(1, "gpu-box", "ab" * 16))
    for words in (("status",), ("status", "bat"), ("watch",)):
        said = overnight(*words, "--root", str(root))
        assert (said.code, said.out) == (3, "")
        assert f"host gpu-box leads {root}" in said.err
        assert f"overnight resume --root '{root}'" in said.err


def test_status_needs_no_supervisor(root: Path, overnight: Overnight) -> None:
    """Guards against a status that fails, or starts something, when nobody is watching."""
    with StandIn(root):
        name = launched(overnight)
    document = json.loads(overnight("status", name, "--json").out)
    assert document["supervisor"]["alive"] is False
    assert document["supervisor"]["pid"] is None
    assert "nobody is watching" in overnight("status", name).out
    assert not (root / ".state" / "keeper.log").exists()


def test_common_options_may_stand_before_the_verb(standin: StandIn, overnight: Overnight, root: Path) -> None:
    """Guards against `overnight --root X status` being an error for no reason."""
    name = launched(overnight)
    said = overnight("--root", str(root), "--json", "status", name)
    assert json.loads(said.out)["campaign"] == name
    for words in (("rules", "--json", "list"), ("--json", "rules", "--root", str(root), "list")):
        assert json.loads(overnight(*words).out)["rules"]


def test_why_and_logs(standin: StandIn, overnight: Overnight, root: Path) -> None:
    """Guards against a failure without its line, and logs that need a path."""
    name = launched(overnight)
    assert overnight("logs", name, "b").code == 3
    standin.ends(failing={"b": "code"}, output=b"one\n\xff two", root=root)
    why = overnight("why", name, "b")
    assert "python-traceback" in why.out
    assert "RuntimeError: boom" in why.out
    assert json.loads(overnight("why", name, "b", "--json").out)["rule"] == "python-traceback"
    assert overnight("why", name).code == 0
    assert overnight("why", name, "zz").code == 3
    done = subprocess.run([sys.executable, "-m", "overnight", "logs", "bat", "b"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\n\xff two", b"")
    followed = subprocess.run(
        [sys.executable, "-m", "overnight", "logs", "bat", "b", "-f"], capture_output=True, timeout=60
    )
    assert followed.stdout == b"one\n\xff two"
    assert followed.stderr == b"--- b, attempt 1\n"
    assert json.loads(overnight("logs", name, "b", "--json").out)["attempt"] == 1
    assert overnight("logs", name, "b", "--attempt", "7").code == 3
    assert overnight("logs", name, "b", "-f", "--json").code == 2


def test_requests_print_the_answer(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a change that says nothing, so that it is typed again."""
    name = launched(overnight)
    standin.answers[r.Pause] = r.Answer(True, "paused; 2 live attempts go on", details=("a", "b"))
    said = overnight("pause", name)
    assert said.out == f"{name}: paused; 2 live attempts go on\n  a\n  b\n"
    assert json.loads(overnight("pause", name, "--json").out)["message"] == "paused; 2 live attempts go on"
    assert overnight("amend", name, "--drop", "a", "b", "--set", "limits.grace=5s").code == 0
    request = standin.requests[-1]
    assert isinstance(request, r.Amend)
    assert request.dropped == ("a", "b")
    assert request.policy is not None
    assert request.policy.limits.grace == 5.0
    for arguments in (["retry", name, "a", "--scratch"], ["resume", name], ["cancel", name, "a"]):
        assert overnight(*arguments).code == 0
    assert [type(request) for request in standin.requests[-3:]] == [r.Retry, r.Resume, r.Cancel]


@pytest.mark.parametrize(("failing", "code"), [({}, 0), ({"b": "code"}, 1)])
def test_wait_ends_with_the_campaign(
    standin: StandIn, overnight: Overnight, failing: dict[str, str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against `--wait && upload` uploading a failed sweep; a line for each run that ends."""
    name = launched(overnight)
    look = waiting.Overseeing.look

    def ends(overseeing: waiting.Overseeing) -> None:
        monkeypatch.setattr(waiting.Overseeing, "look", look)
        standin.ends(failing=failing)

    monkeypatch.setattr(waiting.Overseeing, "look", ends)
    said = overnight(*TYPED, "--wait", *COMMAND)
    assert said.code == code
    assert "a succeeded" in said.err
    assert "of 3 runs ended" not in said.err, "each end has its line; the counts of each look are no news"
    assert said.out.startswith(f"{name}  ")
    document = json.loads(overnight("watch", name, "--json").out)
    assert document["counts"].get("failed", 0) == len(failing)


def test_interrupting_a_wait_leaves_the_campaign_alone(standin: StandIn, overnight: Overnight) -> None:
    """Guards against Ctrl-C that kills the night's work, or leaves one in doubt whether it did."""
    name = launched(overnight)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{name} goes on" in err
    assert "Traceback" not in err


def test_an_interrupted_request_says_what_becomes_of_it(
    root: Path, overnight: Overnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a supervisor was coming up: cancelled, or not? It was, a second later."""
    with StandIn(root):
        name = launched(overnight)

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keep, "ensure_keeper", ctrl_c)
    said = overnight("cancel", name)
    assert (said.code, said.out) == (130, "")
    assert "interrupted; what was asked for is in the inbox, and will be done" in said.err
    assert len(list((root / ".state" / "inbox").glob("*.json"))) == 1


WAITING = """
import signal, sys
from overnight.api import waiting
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would we
look = waiting.Overseeing.look
def looked(self):
    print("waiting", flush=True)
    waiting.Overseeing.look = look
waiting.Overseeing.look = looked
from overnight.cli.app import run
sys.exit(run(["watch", sys.argv[1]]))
"""


def test_watch_draws_a_table_and_ends(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a live page that does not fit 80×24, or never ends."""
    name = launched(overnight)
    controller, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-m", "overnight", "watch", name], stdout=terminal, stderr=terminal, stdin=terminal, env=env
    )
    os.close(terminal)
    seen = b""
    while b"watched by pid" not in seen:
        assert select.select([controller], [], [], 30)[0], seen
        seen += os.read(controller, 65536)
    standin.ends()
    try:
        while select.select([controller], [], [], 30)[0]:
            piece = os.read(controller, 65536)
            if not piece:
                break
            seen += piece
    except OSError:  # how Linux says that the other side of a terminal is gone
        pass
    os.close(controller)
    assert process.wait(30) == 0
    assert b"0/3" in seen
    assert b"3 succeeded" in seen
    assert b"Traceback" not in seen


def test_supervisor_stop_is_a_wish_that_stays(standin: StandIn, overnight: Overnight, root: Path) -> None:
    """Guards against a supervisor that comes back by itself after a person stopped it."""
    name = launched(overnight)
    assert json.loads(overnight("supervisor", "status", "--json").out)["alive"] is True
    (root / ".state" / "lock").unlink()
    said = overnight("supervisor", "stop")
    assert (said.code, said.out) == (0, "none was running\n")
    assert (root / ".state" / "stopped").exists()
    assert overnight("status", name).code == 0
    assert (root / ".state" / "stopped").exists()


def test_classify(overnight: Overnight) -> None:
    """Guards against a classifier that can only be used with a campaign."""
    Path("x.log").write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n")
    document = json.loads(overnight("classify", "x.log", "--exit-code", "1", "--json").out)
    assert sorted(document) == ["class", "consequences", "evidence", "message", "rule", "transient"]
    assert document["class"] == "oom.gpu"
    assert overnight("classify", "x.log", "--exit-code", "1").out.startswith("oom.gpu")
    assert json.loads(overnight("classify", "x.log", "--exit-code", "0", "--json").out)["class"] == "none"
    assert overnight("classify", "x.log", "--signal", "9").code == 0
    assert overnight("classify", "x.log", "--signal", "SIGFOO").code == 2
    by_name, by_code = (
        overnight("classify", "/dev/null", *words) for words in (("--signal", "KILL"), ("--exit-code", "-9"))
    )
    assert "ended by SIGKILL" in by_name.out and by_code.out == by_name.out


def test_init_spells_options_as_the_script_does(overnight: Overnight) -> None:
    """The file that `init` wrote for a script with `--batch_size` and `--output` failed in each of its rows."""
    Path("sweep.csv").write_text("run_id,batch_size,weight_decay,lr\na,1,2,3\n")
    Path("train.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--batch_size')\n"
        'p.add_argument("--weight-decay")\np.add_argument("--lr")\np.add_argument("--output")\n'
    )
    command = json.loads(overnight("init", "--json").out)["command"]
    assert command[2:] == [
        "--batch_size", "{batch_size}", "--weight-decay", "{weight_decay}", "--lr", "{lr}", "--output", "{out_dir}",
    ]  # fmt: skip


def test_init_writes_a_file_that_launches(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a template that our own reader refuses, and against overwriting a person's file."""
    Path("train.py").write_text("import argparse\nckpt = 'ckpt.pt'\n")
    said = overnight("init")
    assert said.code == 0, said
    assert "sweep.csv" in said.out
    text = Path("overnight.toml").read_text()
    assert overnight("init").code == 2
    assert Path("overnight.toml").read_text() == text
    dry = overnight("launch", "--dry-run")
    assert dry.code == 0, dry
    assert "train.py --seed 2 --out-dir" in dry.out
    Path("sweep.csv").unlink()
    Path("overnight.toml").unlink()
    assert overnight("init").code == 0
    assert overnight("launch", "--dry-run").code == 0
    Path("my runs").mkdir()
    assert "overnight launch 'my runs/overnight.toml' --dry-run" in overnight("init", "my runs").out, "as it is pasted"
