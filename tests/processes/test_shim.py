"""The shim by path, with real commands: how they begin, what they see, how their end is told."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keeper_world import (
    PATIENCE_SECONDS,
    SHIM,
    SOURCE,
    await_that,
    exit_record,
    prepare,
    read_when_there,
    run_shim,
)

from overnight.shim import shim
from overnight.shim.shim import claim, process_start_ticks


def python(code: str) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-S", "-c", code]


def run(folder: Path, **more: object) -> dict[str, object]:
    """The exit record of the attempt, run to its end."""
    assert run_shim(folder, **more).wait(PATIENCE_SECONDS) == shim.RAN
    return exit_record(folder)


def test_of_twenty_shims_one_runs(tmp_path: Path) -> None:
    """An attempt started twice computes twice and ruins its checkpoint: whoever wakes up late does nothing."""
    folder = prepare(tmp_path / "1", ["sh", "-c", "echo ran"])
    shims = [run_shim(folder) for _ in range(20)]
    codes = sorted(each.wait(PATIENCE_SECONDS) for each in shims)
    assert codes == [shim.RAN] + [shim.TAKEN] * 19
    assert (folder / "output.log").read_text() == "ran\n"
    assert {path.name for path in folder.iterdir()} == {"env.json", "bound", "started", "output.log", "exit"}
    started = json.loads((folder / "started").read_text())
    assert started["by"] == "shim" and started["host"] == shim.host_identity()


def test_a_start_given_up_runs_nothing(tmp_path: Path) -> None:
    """A supervisor gave up a start, and the shim woke up after it: the slot may belong to another run by then."""
    folder = prepare(tmp_path / "1", ["sh", "-c", "echo ran"])
    assert claim(str(folder), "supervisor")
    assert not claim(str(folder), "supervisor")
    assert run_shim(folder).wait(PATIENCE_SECONDS) == shim.TAKEN
    assert not (folder / "output.log").exists()
    assert json.loads((folder / "started").read_text())["by"] == "supervisor"


def test_a_claim_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems know no hard links; claims there are still made by one alone."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert claim(str(tmp_path), "shim")
    assert not claim(str(tmp_path), "shim")
    assert json.loads((tmp_path / "started").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("script", "code", "name"),
    [("exit 0", 0, None), ("exit 137", 137, None), ("kill -KILL $$", None, "SIGKILL")],
)
def test_exit_137_is_not_a_kill(tmp_path: Path, script: str, code: int | None, name: str | None) -> None:
    """`exit 137` taken for the kernel's OOM kill sends the run into the wrong class."""
    record = run(prepare(tmp_path / "1", ["sh", "-c", script]))
    assert (record["code"], record["signal"], record["error"]) == (code, name, None)
    assert isinstance(record["raw"], int)
    assert os.waitstatus_to_exitcode(record["raw"]) == (code if code is not None else -signal.SIGKILL)
    assert record["stopped"] is None and record["swept"] == 0


def test_output_goes_straight_into_the_log(tmp_path: Path) -> None:
    """Bytes that are no text, and both streams, arrive as they were written and in that order."""
    code = "import os; os.write(1, bytes(range(256))); os.write(2, b'two'); os.write(1, b'three')"
    folder = prepare(tmp_path / "1", python(code))
    run(folder)
    assert (folder / "output.log").read_bytes() == bytes(range(256)) + b"twothree"


def test_no_descriptor_leaks_into_the_command(tmp_path: Path) -> None:
    """A daemon that inherited a slot's lock would hold the slot long after its run."""
    folder = prepare(tmp_path / "1", ["sh", "-c", "ls /proc/self/fd; readlink /proc/self/fd/0"])
    with (tmp_path / "lock").open("w") as lock:
        run(folder, pass_fds=[lock.fileno()])
    # The third above 2 is the listing's own.
    assert (folder / "output.log").read_text().split() == ["0", "1", "2", "3", "/dev/null"]


def test_signals_are_as_after_a_login(tmp_path: Path) -> None:
    """nohup and Python hand down ignored signals: a trainer that ignores SIGTERM or SIGPIPE cannot be stopped."""
    folder = prepare(tmp_path / "1", ["sh", "-c", "ulimit -c; cat /proc/self/status"])
    held = (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGINT)

    def spoil() -> None:
        for each in held:
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, held)

    run(folder, preexec_fn=spoil)
    limit, *lines = (folder / "output.log").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    masks = {name: int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")}
    internal = 1 << 31 | 1 << 32  # glibc's posix_spawn ignores its own two, and takes them back when it needs them
    assert (masks["SigBlk"], masks["SigIgn"] & ~internal, masks["SigCgt"]) == (0, 0, 0)
    assert limit == "0"


def test_the_command_has_what_the_launching_shell_had(tmp_path: Path) -> None:
    """A run that worked by hand fails at night when its environment, umask or limits differ."""
    launch = tmp_path / "launch.env"
    launch.write_text(json.dumps({"PATH": os.environ["PATH"], "ODD": "caf\udce9", "GONE": "1", "BOTH": "old"}))
    code = (
        "import os, resource; old = os.umask(0); e = os.environb;"
        "print(sorted(e), e[b'ODD'], e[b'BOTH'], old, resource.getrlimit(resource.RLIMIT_NOFILE)[0],"
        "resource.getrlimit(resource.RLIMIT_STACK)[0], os.getcwd())"
    )
    folder = prepare(
        tmp_path / "1",
        python(code),
        launch_env=str(launch),
        set={"BOTH": "new", "LC_ALL": "C"},
        unset=["GONE"],
        umask=0o027,
        rlimits={
            "NOFILE": [300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]],
            "STACK": [1 << 20, -1],
            "NOSUCH": [1, 1],
        },
        cwd="/tmp",
    )
    assert run(folder)["code"] == 0, (folder / "output.log").read_text()
    expected = "[b'BOTH', b'LC_ALL', b'ODD', b'PATH'] b'caf\\xe9' b'new' 23 300 1048576 /tmp\n"
    assert (folder / "output.log").read_text() == expected
    assert (folder / "output.log").stat().st_mode & 0o777 == 0o644


def test_a_script_without_a_first_line_runs(tmp_path: Path) -> None:
    """`./train.sh` without `#!` works in every shell, so people have them."""
    folder = prepare(tmp_path / "1", ["./train.sh", "one"])
    (folder / "train.sh").write_text("echo got $1\n")
    (folder / "train.sh").chmod(0o755)
    assert run(folder)["code"] == 0
    assert (folder / "output.log").read_text() == "got one\n"


@pytest.mark.parametrize(
    ("change", "what", "number"),
    [
        ({"argv": ["no-such-program-here"]}, "exec", 2),
        ({"argv": ["/etc/passwd"]}, "exec", 13),
        ({"argv": ["/bin/echo", "a\0b"]}, "exec", None),
        ({"argv": ["no-such-program-here"], "rlimits": {"STACK": [1 << 20, -1]}}, "exec", 2),
        ({"argv": ["/etc/passwd"], "rlimits": {"STACK": [1 << 20, -1]}}, "exec", 13),
        ({"cwd": "/no/such/place"}, "cwd", 2),
        ({"launch_env": "/no/such/file"}, "env", 2),
        ({"argv": []}, "env", None),
    ],
)
def test_a_command_that_cannot_start_says_why(
    tmp_path: Path, change: dict[str, object], what: str, number: int | None
) -> None:
    """ "exit code 127" at three in the morning: the record names what was missing instead."""
    record = run(prepare(tmp_path / "1", **({"argv": ["true"]} | change)))
    error = record["error"]
    assert isinstance(error, dict)
    assert (error["what"], error["errno"]) == (what, number)
    assert error["message"]
    assert (record["code"], record["signal"], record["raw"]) == (None, None, None)


def test_a_log_that_cannot_be_opened_starts_nothing(tmp_path: Path) -> None:
    """Hours of training whose output went nowhere: without a log nothing runs."""
    folder = prepare(tmp_path / "1", ["touch", "ran"])
    (folder / "output.log").mkdir()
    error = run(folder)["error"]
    assert isinstance(error, dict) and error["what"] == "log"
    assert not (folder / "ran").exists()


FULL_DISK = """
mount -t tmpfs -o size=48k,nr_inodes=20 none "$1" || exit 90
cp "$2"/* "$1" || exit 91
"$3" "$4" "$1" || exit 92
cat "$1/exit" || exit 93
"""


def test_a_full_disk_costs_no_exit_record(tmp_path: Path) -> None:
    """The run that fills the disk is the one whose end must be known; its record's space is taken before."""
    (tmp_path / "small").mkdir()
    fill = "yes | head -c 1000000; exit 7"
    made = prepare(tmp_path / "made", ["sh", "-c", fill], cwd="/")
    answer = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL_DISK, "sh", tmp_path / "small", made, sys.executable, SHIM],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["code"] == 7


def test_a_disk_full_from_the_start_runs_nothing(tmp_path: Path) -> None:
    """No room for the claim: nothing runs, nothing is claimed, and one line says so."""
    (tmp_path / "small").mkdir()
    made = prepare(tmp_path / "made", ["sh", "-c", "echo ran"], cwd="/")
    script = FULL_DISK.replace('"$3"', 'cat /dev/zero > "$1/rest" 2> /dev/null; "$3"', 1).replace("|| exit 92", "")
    script += 'test -e "$1/started" && exit 94; exit 0'
    answer = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script.replace('cat "$1/exit" || exit 93', ""), "sh"]
        + [str(each) for each in (tmp_path / "small", made, sys.executable, SHIM)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.startswith("error: ") and "No space left" in answer.stderr


NEVER_REAPS = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[3])
from overnight.shim.shim import process_start_ticks
# An intermediate parent ends at once: the shim's own parent is this PID 1, which reaps nothing but it.
between = subprocess.Popen([sys.executable, "-c",
    "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True)",
    sys.executable, sys.argv[1], sys.argv[2]], stdout=subprocess.PIPE)
pid = int(between.stdout.read())
between.wait()
while not os.path.exists(sys.argv[2] + "/exit") or process_start_ticks(pid) is not None:
    time.sleep(0.01)
state = open(f"/proc/{pid}/stat").read().split()[2]
print(os.getpid(), state, process_start_ticks(pid))
"""


def test_in_a_container_whose_init_never_reaps(tmp_path: Path) -> None:
    """A pod's PID 1 was `sleep infinity`: ended processes stayed zombies, and were waited for all night."""
    daemon = "setsid sh -c 'sleep 300 & sleep 300' & exit 3"
    folder = prepare(tmp_path / "1", ["sh", "-c", daemon], grace=0.1)
    answer = subprocess.run(
        ["unshare", "-rpf", "--mount-proc", sys.executable, "-c", NEVER_REAPS, SHIM, folder, SOURCE],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert answer.stdout.split() == ["1", "Z", "None"], answer.stderr
    assert exit_record(folder)["code"] == 3


def test_a_zombie_is_not_alive() -> None:
    """A dead shim that nobody reaped would be adopted and watched for ever."""
    child = subprocess.Popen(["true"])
    await_that(lambda: (stat := shim.process_stat(child.pid)) is not None and stat.dead)
    assert process_start_ticks(child.pid) is None
    child.wait()
    assert shim.process_stat(child.pid) is None
    assert process_start_ticks(os.getpid()) is not None


def test_the_seconds_are_the_commands(tmp_path: Path) -> None:
    """What a command leaves behind must not lengthen its own duration."""
    record = run(prepare(tmp_path / "1", ["sh", "-c", "trap '' TERM; sleep 300 & exit 5"], grace=0.5))
    over = time.monotonic()
    assert record["code"] == 5 and record["swept"] == 1
    began, ended, seconds = (record[name] for name in ("started_mono", "ended_mono", "seconds"))
    assert isinstance(began, float) and isinstance(ended, float) and seconds == pytest.approx(ended - began)
    assert over - ended >= 0.5, "what was left had its grace after the end"
    assert record["stopped"] is None


def test_wrong_use_is_told_in_two_lines() -> None:
    """A traceback is no answer to a person."""
    answer = subprocess.run([sys.executable, SHIM], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and "\nhint: " in answer.stderr


def test_the_record_waits_for_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy-on-write file systems lend no space in advance: the record is written when there is room again."""
    folder, real, failed = os.open(tmp_path, os.O_RDONLY), os.pwrite, []

    def full_twice(fd: int, data: bytes, at: int) -> int:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(28, "full")
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full_twice)
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: None)
    assert shim._write_exit(folder, None, {"code": 4})
    assert read_when_there(tmp_path / "exit") == '{"code": 4}\n' and len(failed) == 2
    os.close(folder)
