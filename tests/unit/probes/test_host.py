"""Questions about a host, asked of made-up ones."""

from pathlib import Path

import pytest

from overnight.model.health import Health
from overnight.probes import host


def proc(folder: Path, *, scope: str = "0", capabilities: str = "0", cgroup: str = "0::/") -> Path:
    (folder / "sys/kernel/yama").mkdir(parents=True)
    (folder / "sys/kernel/yama/ptrace_scope").write_text(f"{scope}\n")
    (folder / "self").mkdir()
    (folder / "self/status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
    (folder / "self/cgroup").write_text(f"{cgroup}\n")
    return folder


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no wedged bus."""
    monkeypatch.setattr(host, "CALL_SECONDS", 30.0)


def programs(folder: Path, **texts: str) -> dict[str, str]:
    """An environment in which only these programs are found."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "XDG_SESSION_ID": "7"}


LOGIND = """case "$6" in
KillUserProcesses) echo b {kills} ;;
KillExcludeUsers) echo as 1 '"root"' ;;
esac"""


def test_a_logout_that_kills_is_known(tmp_path: Path) -> None:
    """A campaign was started, the laptop closed, and logind killed keeper, supervisor and all runs."""
    env = programs(tmp_path, busctl=LOGIND.format(kills="true"))
    assert host.logout_kills(env, "ada")
    assert not host.logout_kills(env, "root"), "an exempt user"
    assert not host.logout_kills({**env, "XDG_SESSION_ID": ""}, "ada"), "no session that could end"
    found = host.logout(env, "ada", lingers=False)
    assert found.health == Health.WARN and "enable-linger ada" in found.hint


def test_a_logout_that_does_not_kill_is_no_warning(tmp_path: Path) -> None:
    """A warning at each launch on every machine is read by nobody."""
    assert not host.logout_kills(programs(tmp_path / "1", busctl=LOGIND.format(kills="false")), "ada")
    assert not host.logout_kills(programs(tmp_path / "2", busctl="exit 1"), "ada")
    assert host.logout(programs(tmp_path / "3", busctl="exit 1"), "ada", None).health == Health.OK


def test_a_bus_that_hangs_keeps_no_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """logind was wedged, and so was every launch."""
    monkeypatch.setattr(host, "CALL_SECONDS", 0.2)
    assert not host.logout_kills(programs(tmp_path, busctl="exec sleep 30"), "ada")


@pytest.mark.parametrize(
    ("scope", "capabilities", "health"),
    [("0", "0", Health.OK), ("1", "0", Health.NOTE), ("2", "0", Health.NOTE), ("2", "80000", Health.OK)],
)
def test_who_may_look_at_stacks(tmp_path: Path, scope: str, capabilities: str, health: Health) -> None:
    """The first stall of the night left no stacks, because nobody had tried before."""
    env = programs(tmp_path / "bin", py_spy="exit 0")
    assert host.stacks(env, proc(tmp_path / "proc", scope=scope, capabilities=capabilities)).health == health


def test_a_shared_memory_of_64_megabytes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's default: every data loader with workers died of a bus error."""
    import os

    class Small:
        f_blocks, f_frsize, f_bavail = 16_384, 4096, 16_384

    monkeypatch.setattr(os, "statvfs", lambda path: Small)
    found = host.shared_memory(tmp_path)
    assert found.health == Health.WARN and "64 MiB" in found.words and "--shm-size" in found.hint


def test_no_shared_memory_at_all(tmp_path: Path) -> None:
    """Its absence is a finding, not a traceback."""
    assert host.shared_memory(tmp_path / "none").health == Health.WARN


def test_few_descriptors_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 open files: the trainer with many shards died in the third epoch."""
    import resource

    real = resource.getrlimit
    monkeypatch.setattr(
        resource, "getrlimit", lambda kind: (1024, 1024) if kind == resource.RLIMIT_NOFILE else real(kind)
    )
    found = host.limits(proc(tmp_path / "proc"))
    assert found.health == Health.WARN and "1024 open files" in found.words


def test_a_host_that_answers_nothing_is_no_crash(tmp_path: Path) -> None:
    """A hardened container hides half of /proc."""
    assert host.cgroups(tmp_path).health == Health.NOTE
    assert host.limits(tmp_path).name == "limits"
