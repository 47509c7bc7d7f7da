"""What is provoked, and what must be found out about it.

Classes follow from the failure alone, never from what the classifier happens to say.
"""

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUCCEEDED = ""  # the class of a run that ended well


@dataclass(frozen=True)
class Case:
    """One run of the night."""

    name: str
    words: str  # the command; {out_dir} and the words of `places()` are replaced
    found: str  # the class
    evidence: str = ""  # stands in the evidence's line; empty: no line says it
    rule: str = ""  # who decided; empty: any rule of the log
    consequences: tuple[str, ...] = ()  # named apart, at least these
    before: tuple[str, ...] = ()  # classes of the attempts before the last
    needs: str = ""  # a word of `missing()`


def torchrun(program: str, options: str = "") -> str:
    """Two workers on this machine."""
    return f"torchrun --standalone --nproc-per-node=2 {options} programs/{program}"


def own_mount(options: str, where: str, command: str) -> str:
    """`command` where `where` is a small file system of its own, which nobody else sees."""
    script = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    return f"unshare --map-root-user --mount sh -c {shlex.quote(script)} {where} {command}"


def behind(command: str) -> str:
    """`command` under a runner of no known form, which puts its own words before every line."""
    script = f"set -o pipefail; {command} 2>&1 | sed -u 's/^/pool 17 > /'"
    return f"bash -c {shlex.quote(script)}"


RANKS = [
    Case("rank-raises", torchrun("ranks.py raises"), "code", "ValueError: label 11 is not", "python-exception"),
    Case(  # torchrun ends the peers of a rank that has gone, who then may have said nothing yet; this one stays
        "rank-lingers",
        torchrun("ranks.py raises-and-lingers"),
        "code",
        "ValueError: label 11 is not",
        "python-exception",
        ("nccl.error",),
    ),
    Case("rank-redirected", torchrun("ranks.py raises", "--redirects=3"), "code", "ValueError: label 11 is not"),
    Case("rank-silent", torchrun("ranks.py raises-silently", "--redirects=3"), "code", "ValueError: label 11 is not"),
    Case("rank-killed", torchrun("ranks.py killed"), "unknown", ": -9"),  # whoever is seen first
    Case("rank-segfaults", torchrun("ranks.py segfaults"), "crash", "egmentation fault"),
    Case("rank-aborts", torchrun("ranks.py aborts"), "crash", "Python error: Aborted", "python-code-aborted"),
    Case("rank-behind-words", behind(torchrun("ranks.py raises")), "code", "ValueError: label 11 is not"),
    Case("rank-hangs", torchrun("ranks.py hangs"), "nccl.timeout", "Timed out waiting", "nccl-timeout"),
    Case("rank-leaves", torchrun("ranks.py leaves"), "nccl.error", "gloo/transport/tcp/", "transport-closed"),
    Case("ranks-unequal", torchrun("absent.py"), "config", "can't open file"),
    Case("launcher-words", "torchrun --nproc-per-node=many programs/ranks.py raises", "config", "nproc_per_node"),
    Case("nobody-comes", "python programs/meeting.py alone", "rendezvous", "clients"),
    Case("port-taken", "python programs/meeting.py port {service_port}", "rendezvous", "in use"),
    Case("spawned-raises", "python programs/train.py spawn", "code", "KeyError: 'learning_rate'"),
]

TRAINING = [
    Case("worker-killed", "python programs/train.py worker-killed", "oom.host", "killed by signal: Killed"),
    Case("worker-raises", "python programs/train.py worker-raises", "code", "KeyError: 'pixels'"),
    Case("bad-shape", "python programs/train.py bad-shape", "code", "shapes cannot be multiplied"),
    Case("bad-index", "python programs/train.py bad-index", "code", "index out of range in self"),
    Case("nan-backward", "python programs/train.py nan-backward", "numeric", "returned nan values"),
    Case("nan-loss", "python programs/train.py nan-loss", "numeric", "stopping training"),
    Case("needs-gpu", "python programs/train.py needs-gpu", "gpu.driver", rule="gpu-no-device", evidence="CUDA"),
    Case(
        "shm-small", own_mount("size=1m", "/dev/shm", "python programs/train.py shm-small"), "shm",
        "shared memory", needs="mounts",
    ),
    Case(
        "shm-handles", "sh -c 'ulimit -n 64; exec python programs/train.py too-many-files'", "shm",
        "oo many open files",
    ),
]  # fmt: skip

CHECKPOINTS = [
    Case("ckpt-truncated", "python programs/checkpoints.py truncated {out_dir}", "data.corrupt", "PytorchStreamReader"),
    Case("ckpt-begun", "python programs/checkpoints.py begun {out_dir}", "data.corrupt", "Invalid argument"),
    Case("ckpt-overwritten", "python programs/checkpoints.py overwritten {out_dir}", "data.corrupt"),
    Case("ckpt-garbage", "python programs/checkpoints.py garbage {out_dir}", "data.corrupt", "Unsupported operand"),
    Case("ckpt-empty", "python programs/checkpoints.py empty {out_dir}", "data.corrupt", "EOFError"),
    Case("ckpt-missing", "python programs/checkpoints.py missing {out_dir}", "data.missing", "ckpt.pt"),
    Case("ckpt-foreign", "python programs/checkpoints.py foreign {out_dir}", "checkpoint", "Weights only load failed"),
    Case("ckpt-misfit", "python programs/checkpoints.py misfit {out_dir}", "checkpoint", "state_dict"),
    Case(
        "ckpt-full", own_mount("size=1m", "{out_dir}", "python programs/checkpoints.py full {out_dir}"), "disk.full",
        needs="mounts",
    ),
]  # fmt: skip

SETTINGS = [
    Case("argparse", "python programs/settings_argparse.py --lr ten", "config", "invalid float value"),
    Case("hydra", "python programs/settings_hydra.py model.depth=3", "config", "model.depth"),
    Case("pydantic", 'python programs/settings_pydantic.py \'{"lr": -1, "steps": "many"}\'', "config"),
    Case("no-script", "python programs/absent.py", "config", "can't open file"),
    Case("no-program", "trainer-that-nobody-has --lr 1", "config", rule="supervisor-start"),
]

HOST = [
    Case("segfault", "python programs/host.py segfault", "crash", "Segmentation fault"),
    Case("abort", "python programs/host.py abort", "crash", "Aborted"),
    Case(
        "address-space",  # numpy's own threads want room, too: as much as there are cores
        "bash -c 'ulimit -v 1500000; OPENBLAS_NUM_THREADS=1 exec python programs/host.py memory'", "oom.host",
        "Unable to allocate",
    ),
    Case("files", "python programs/host.py files", "config", "Too many open files"),
    Case(
        "disk-full", own_mount("size=4m", "{out_dir}", "python programs/host.py disk {out_dir}"), "disk.full",
        "No space left on device", needs="mounts",
    ),
    Case("file-size", "python programs/host.py file-size {out_dir}", "disk.full", "File too large"),
    Case(
        "read-only", own_mount("ro", "{out_dir}", "python programs/host.py read-only {out_dir}"), "disk.io",
        "Read-only file system", needs="mounts",
    ),
    Case("no-module", "python programs/host.py module", "import", "No module named"),
    Case("no-library", "python programs/host.py library", "import", "cannot open shared object file"),
    Case("no-data", "python programs/host.py data /nonexistent/train.bin", "data.missing", "/nonexistent/train.bin"),
    Case("half-data", "python programs/host.py array {out_dir}", "data.corrupt"),
    Case("own-launcher", "python programs/host.py child", "code", "ZeroDivisionError"),
    Case("thread-dies", "python programs/host.py threads", "data.missing", "/nonexistent/shard-0.tar"),
]  # fmt: skip

OUTSIDE = [
    Case("no-name", "python programs/outside.py requests http://no-such-host.invalid/x", "network", "gaierror"),
    Case("refused", "python programs/outside.py requests http://127.0.0.1:{closed_port}/x", "network", "refused"),
    Case("hangs", "python programs/outside.py requests {service}/hangs", "network", "timed out"),
    Case("no-tls", "python programs/outside.py requests https://127.0.0.1:{service_port}/x", "network", "SSL"),
    Case("unauthorized", "python programs/outside.py requests {service}/private", "auth", "401"),
    Case("hub-private", "env HF_ENDPOINT={service}/private python programs/outside.py hub a/b", "auth", "401"),
    Case("hub-forbidden", "env HF_ENDPOINT={service}/forbidden python programs/outside.py hub a/b", "auth", "403"),
    Case("hub-absent", "env HF_ENDPOINT={service}/entry python programs/outside.py hub a/b", "data.missing", "404"),
    Case("mirror-absent", "env HF_ENDPOINT={service}/absent python programs/outside.py hub a/b", "data.missing", "404"),
    Case("down", "python programs/outside.py requests {service}/down", "network", "503"),
    Case("passes", "python programs/outside.py requests {service}/passes", SUCCEEDED, before=("network",)),
]

# Behind all others: the kernel's word of a kill is about the host, not about one run.
LAST = [
    Case(
        "cgroup", "python programs/host.py cgroup {cgroup}", "oom.host", "oom", "kernel-oom-kill",
        needs="memory cgroup",
    ),
]  # fmt: skip

# Before all others: without a success, three runs with the same mistake would have the rest wait for scouts.
FIRST = [Case("fine", "python -c pass", SUCCEEDED), Case("fine-too", "python -c pass", SUCCEEDED)]

CASES = [*FIRST, *RANKS, *TRAINING, *CHECKPOINTS, *SETTINGS, *HOST, *OUTSIDE, *LAST]


def halves(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Two campaigns, so that no more than two runs of one have a cause in common: a third would prove it, and all
    three would be held instead of failed."""
    seen: Counter[str] = Counter()
    found: tuple[list[Case], list[Case]] = ([], [])
    for case in cases:
        found[seen[case.found] % 2].append(case)
        seen[case.found] += 1
    return found


def memory_cgroup() -> Path | None:
    """A folder in which we may make memory cgroups of either version; None: nowhere."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            own = Path("/sys/fs/cgroup/memory") / path.lstrip("/")
            return own if os.access(own, os.W_OK) else None
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            own = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
            for folder in (own, own.parent):  # a group with processes of its own hands no controllers down
                shared = folder / "cgroup.subtree_control"
                if shared.exists() and "memory" in shared.read_text().split() and os.access(folder, os.W_OK):
                    return folder
    return None


def cron_and_mounts() -> bool:
    """Whether the real cron may run here under a spool of its own."""
    return os.getuid() == 0 and all(map(shutil.which, ("cron", "crontab", "unshare")))


def missing() -> dict[str, str]:
    """What this machine lacks, by what cases call it, with how to get it."""
    lacks = {}
    if shutil.which("systemd-analyze") is None:
        lacks["systemd"] = "systemd-analyze: Debian's package systemd"
    if not cron_and_mounts():
        lacks["cron"] = "root, unshare(1) and cron: Debian's packages util-linux and cron"
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode
    ):
        lacks["mounts"] = (
            "unshare(1) of util-linux and leave to make mount namespaces: be root, or allow unprivileged user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1; in a container: --privileged)"
        )
    if memory_cgroup() is None or not os.access("/dev/kmsg", os.R_OK):
        lacks["memory cgroup"] = (
            "a memory cgroup in which others may be made, and leave to read /dev/kmsg: be root "
            "(sysctl kernel.dmesg_restrict=0; in a container: --privileged)"
        )
    return lacks
