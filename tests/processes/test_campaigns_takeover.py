"""A root on a volume that two hosts mount: two real hosts, as far as names and processes go."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import Answer, Ground, lines
from keeper_world import alive, await_that

from overnight.artifacts.finding import known_roots
from overnight.artifacts.lease import read_lease

# The shell waits in the namespaces as their first process: kill it, and all that was started in them is gone.
HOST = 'mount -t proc proc /proc && hostname "$0" && echo up && exec sleep 100000'
QUICKLY = "import sys; from overnight.api import taking_over as t; t.SILENT_SECONDS = 2.0; sys.argv[0] = 'overnight'; "
QUICKLY += "from overnight.__main__ import main; sys.exit(main())"
TRAINER = (
    "echo $$ >> $OVERNIGHT_OUT_DIR/pids; [ -e go ] || { trap 'exit 1' TERM; while [ ! -e go ]; do sleep 0.05; done; }"
)


class Host:
    """A host name, a process tree and a state directory of its own; the root is shared."""

    def __init__(self, name: str, base: Path, root: Path) -> None:
        self.ground = Ground(base, root)
        self.ground.env["OVERNIGHT_STATE"] = str(base / "state")
        words = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-u", "-p", "-m", "-f", "--kill-child"]
        self.unshare = subprocess.Popen([*words, "sh", "-c", HOST, name], stdout=subprocess.PIPE, text=True)
        assert self.unshare.stdout is not None and self.unshare.stdout.readline() == "up\n"
        (self.init,) = (
            int(pid) for pid in Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text().split()
        )

    def overnight(self, *words: object, code: int = 0, quickly: bool = False) -> Answer:
        program = ["-c", QUICKLY] if quickly else ["-m", "overnight"]
        user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        enter = ["nsenter", "-t", self.init, *user, "-u", "-p", "-m", "--wd=" + str(self.ground.work), "--"]
        typed = [*map(str, enter), sys.executable, *program, *map(str, words)]
        done = subprocess.run(
            typed, env=self.ground.env, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL
        )
        log = self.ground.base / "state" / "supervisor.log"
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{log.read_text() if log.exists() else ''}"
        return Answer(done.returncode, done.stdout, done.stderr)

    def pids(self, *names: str) -> list[int]:
        """Live processes of this host whose command line holds one of these, by the numbers of the test's own host."""
        ours = os.stat(f"/proc/{self.init}/ns/pid").st_ino
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if os.stat(entry / "ns" / "pid").st_ino == ours and any(
                    n in (entry / "cmdline").read_text() for n in names
                ):
                    found.append(int(entry.name))
            except (OSError, UnicodeDecodeError):
                continue
        return [pid for pid in found if alive(pid)]

    def trainers(self) -> list[int]:
        """The live shells of attempts. What one of them forks has its words, too, until it becomes `sleep`."""
        return [pid for pid in self.pids("trap") if _leads(pid)]

    def watching(self) -> list[int]:
        """Its supervisor and its keeper, by what they wrote about themselves."""
        written = (self.ground.holder["pid"], self.ground.keeper_pid())
        return [pid for pid in self.pids("overnight.") if _own_number(pid) in written]

    def power_off(self) -> None:
        with_kill = [self.init] if alive(self.init) else []
        for pid in with_kill:
            os.kill(pid, signal.SIGKILL)
        self.unshare.wait(20)


def _leads(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid) == pid
    return False


def _own_number(pid: int) -> int:
    """What the process's own host calls it (NSpid of proc_pid_status(5)); 0 where it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1])
    return 0


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    pair = Host("alpha", tmp_path / "a", tmp_path / "volume"), Host("beta", tmp_path / "b", tmp_path / "volume")
    (pair[1].ground.work.parent / "work").rmdir()
    (pair[1].ground.work.parent / "work").symlink_to(pair[0].ground.work)  # code and rows are on the volume, too
    yield pair
    for host in pair:
        host.power_off()


def launched(host: Host, runs: int) -> str:
    rows = host.ground.file("rows.csv", "run_id\n" + "".join(f"r{n}\n" for n in range(runs)))
    words = [
        "--name",
        "moved",
        "--slots",
        2,
        "--set",
        "limits.grace=5s",
        "--set",
        "retry.backoff.first=1s",
        "--runs",
        rows,
    ]
    answer = host.overnight("launch", "--json", *words, "--", "sh", "-c", TRAINER, "{run_id}")
    return str(answer.document["campaign"])


def live(host: Host, campaign: str, runs: int) -> None:
    await_that(lambda: host.ground.counts(campaign).get("running") == runs)
    await_that(lambda: len(list(host.ground.folder(campaign).glob("runs/*/out/pids"))) >= runs)


def test_a_pod_is_gone_and_another_goes_on(hosts: tuple[Host, Host]) -> None:
    """A spot pod was taken back at 3 a.m.; the volume with its campaign came back on a new one, where nobody knew which
    runs were done."""
    alpha, beta = hosts
    campaign = launched(alpha, 3)
    live(alpha, campaign, 2)
    refused = beta.overnight("resume", "--root", beta.ground.root, code=2)  # it renews its lease within 10 s
    assert "alpha" in refused.err and "renewed its lease" in refused.err
    assert not (beta.ground.base / "state" / "overnight.db").exists()
    alpha.power_off()
    beta.ground.file("go", "")
    taken = beta.overnight("resume", "--root", beta.ground.root, "--json", quickly=True)
    assert taken.document["taken_over"] == {"term": 2, "rebuilt": True, "lost": 2}
    assert [each["campaign"] for each in taken.document["campaigns"]] == [campaign]
    final = json.loads(beta.overnight("watch", campaign, "--root", beta.ground.root, "--json").out)
    known = [(each.host, each.campaign) for each in known_roots(beta.ground.env)]
    assert known == [("beta", campaign)], "its name is enough here now, from any folder"
    assert final["counts"] == {"succeeded": 3}
    assert not [words for words in final["did"] if "came up again" in words], "a person typed it"
    summaries = [beta.ground.summary(campaign, f"r{n}") for n in range(3)]
    assert [[a["class"] for a in s["attempts"]] for s in summaries] == [
        ["node.lost", None],
        ["node.lost", None],
        [None],
    ]
    lease = read_lease(str(beta.ground.root))
    assert lease is not None and (lease.term, lease.host) == (2, "beta")


def test_a_host_that_was_only_frozen_steps_down(hosts: tuple[Host, Host]) -> None:
    """A hypervisor froze the first host for ten minutes: when it woke, both trained the same run into one directory."""
    alpha, beta = hosts
    campaign = launched(alpha, 2)
    live(alpha, campaign, 2)
    frozen = alpha.watching()
    assert len(frozen) == 2
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    beta.overnight("resume", "--root", beta.ground.root, quickly=True)
    await_that(lambda: len(beta.trainers()) == 2)  # what is on the volume may be of the first host still
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    await_that(lambda: not alpha.pids("sh", "overnight"), 60)  # TERM and grace for its runs, then itself
    assert len(beta.trainers()) == 2
    refused = alpha.overnight("retry", campaign, "--root", alpha.ground.root, code=4)
    assert "host beta leads" in refused.err
    assert not list((alpha.ground.base / "state" / "inbox").glob("*.json"))
    told = json.loads(alpha.overnight("status", campaign, "--root", alpha.ground.root, "--json").out)
    assert "host beta" in told["supervisor"]["words"] and "host beta" in told["needs"][0]["why"]
    beta.ground.file("go", "")
    final = json.loads(beta.overnight("watch", campaign, "--root", beta.ground.root, "--json").out)
    assert final["counts"] == {"succeeded": 2}


def test_left_alive_and_stopped_is_not_gone(hosts: tuple[Host, Host]) -> None:
    """`supervisor stop` ends no run: another host that started them again would have had each run twice."""
    alpha, beta = hosts
    campaign = launched(alpha, 1)
    live(alpha, campaign, 1)
    alpha.overnight("supervisor", "stop", "--root", alpha.ground.root)
    refused = beta.overnight("resume", campaign, "--root", beta.ground.root, code=2)
    assert "1 of its attempts" in refused.err and "--host-gone" in refused.err
    (trainer,) = lines(alpha.ground.out(campaign, "r0") / "pids")
    assert trainer
    alpha.overnight("supervisor", "start", "--root", alpha.ground.root)
    alpha.ground.file("go", "")
    await_that(lambda: alpha.ground.counts(campaign) == {"succeeded": 1})
    assert alpha.ground.summary(campaign, "r0")["ok"]
    alpha.overnight("supervisor", "stop", "--root", alpha.ground.root)
    beta.overnight("resume", "--root", beta.ground.root, code=3)  # at once: its last word; nothing is left to do
    lease = read_lease(str(beta.ground.root))
    assert lease is not None and lease.host == "beta"
