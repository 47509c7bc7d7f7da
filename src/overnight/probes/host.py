"""The health of this host, as far as it bears on a night: each question bounded by whoever asks it."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from overnight.model.health import Check, Health

CALL_SECONDS = 3.0
_MIB = 1 << 20
_LEAST_SHM_BYTES = 1 << 30
_LEAST_DESCRIPTORS = 4096
_LEAST_PROCESSES = 2048
_CAP_SYS_PTRACE = 19
_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


def logout_kills(env: Mapping[str, str], user: str) -> bool:
    """Whether systemd-logind ends this session's processes at logout (KillUserProcesses). False where nobody says
    so: no session, no logind, a user that is exempt."""
    if not env.get("XDG_SESSION_ID") or shutil.which("busctl", path=env.get("PATH")) is None:
        return False
    return _property("KillUserProcesses", env) == "b true" and f'"{user}"' not in _property("KillExcludeUsers", env)


def _property(name: str, env: Mapping[str, str]) -> str:
    words = ["busctl", "--system", "get-property", *_LOGIND, name]
    try:
        done = subprocess.run(
            words, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CALL_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def logout(env: Mapping[str, str], user: str, lingers: bool | None) -> Check:
    """Does a night survive that its owner logs out?"""
    if not logout_kills(env, user):
        return Check("logout", Health.OK, "logging out ends nothing, as far as can be known")
    hint = "overnight supervisor install"
    if lingers is False:
        hint = f"loginctl enable-linger {user}, then overnight supervisor install"
    return Check("logout", Health.WARN, "systemd ends your processes when you log out (KillUserProcesses=yes)", hint)


def stacks(env: Mapping[str, str], proc: Path = Path("/proc")) -> Check:
    """Can stacks of a stalled run be had?"""
    beside = Path(sys.executable).with_name("py-spy")
    if not (os.access(beside, os.X_OK) or shutil.which("py-spy", path=env.get("PATH"))):
        return Check("stacks", Health.NOTE, "py-spy is not installed: a stalled run leaves no stacks of its own",
                     'pip install "overnight[stacks]"')  # fmt: skip
    scope = _number(proc / "sys/kernel/yama/ptrace_scope")
    if scope in (None, 0) or _may_ptrace(proc):
        return Check("stacks", Health.OK, "py-spy is there and may look at your processes")
    words = f"py-spy is there, but may not look: kernel.yama.ptrace_scope is {scope}"
    return Check("stacks", Health.NOTE, words, "sysctl kernel.yama.ptrace_scope=0; without it the log has the stacks")


def _may_ptrace(proc: Path) -> bool:
    for line in _text(proc / "self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_PTRACE & 1)
    return False


def shared_memory(path: Path = Path("/dev/shm")) -> Check:
    """Room for what data loaders hand each other."""
    try:
        found = os.statvfs(path)
    except OSError as problem:
        return Check(
            "shm", Health.WARN, f"{path}: {problem.strerror}", "data loaders with workers need it: mount a tmpfs"
        )
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    words = f"{path}: {size // _MIB:,} MiB, {free // _MIB:,} MiB free"
    if size < _LEAST_SHM_BYTES:
        return Check("shm", Health.WARN, words, "data loaders with workers run out of it: docker run --shm-size=16g")
    if free < size // 10:
        return Check("shm", Health.WARN, words, f"something has filled it: ls -l {path}")
    return Check("shm", Health.OK, words)


def limits(proc: Path = Path("/proc")) -> Check:
    """Limits of this shell, which every run inherits."""
    few = []
    descriptors, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    if descriptors not in (resource.RLIM_INFINITY,) and descriptors < _LEAST_DESCRIPTORS:
        few.append(f"{descriptors} open files (ulimit -Hn)")
    if processes not in (resource.RLIM_INFINITY,) and processes < _LEAST_PROCESSES:
        few.append(f"{processes} processes (ulimit -Hu)")
    for name, kind in (("CPU", resource.RLIMIT_CPU), ("AS", resource.RLIMIT_AS), ("FSIZE", resource.RLIMIT_FSIZE)):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            few.append(f"{name} {soft:,} {'s' if name == 'CPU' else 'bytes'}")
    room = _pids_left(proc)
    if room is not None and room < _LEAST_PROCESSES:
        few.append(f"{room} more processes in this container (pids.max)")
    if few:
        return Check("limits", Health.WARN, f"at most {', '.join(few)}", "runs inherit it: raise it before launch")
    shown = "any number of" if descriptors == resource.RLIM_INFINITY else f"{descriptors:,}"
    return Check("limits", Health.OK, f"{shown} open files; nothing else is short")


def _pids_left(proc: Path) -> int | None:
    group = _cgroup(proc)
    if group is None:
        return None
    most, now = _number(group / "pids.max"), _number(group / "pids.current")
    return None if most is None or now is None else most - now


def cgroups(proc: Path = Path("/proc")) -> Check:
    """May trees be ended by the kernel's own word?"""
    group = _cgroup(proc)
    if group is None:
        return Check("cgroups", Health.NOTE, "no cgroup v2 here: trees are ended process by process")
    if os.access(group, os.W_OK) and (group / "cgroup.kill").exists():
        return Check("cgroups", Health.OK, f"{group} is ours")
    return Check("cgroups", Health.NOTE, "cgroup v2 is not delegated to you: trees are ended process by process")


def _cgroup(proc: Path) -> Path | None:
    for line in _text(proc / "self/cgroup").splitlines():
        if line.startswith("0::"):
            group = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
            return group if (group / "cgroup.controllers").exists() else None
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None
