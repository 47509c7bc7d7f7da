"""Probes of cures: real files, volumes, ports and proxies."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.model.cures import CureOrder
from overnight.probes.cures import GroundCures
from overnight.probes.volumes import fullest, may_be_late, volume_of

PROBE = GroundCures()


def order(name: str, about: str, cwd: Path | str = "/", env: Path | str = "/none", relapses: int = 0) -> CureOrder:
    return CureOrder(name, about, str(cwd), str(env), relapses)


# --- paths -------------------------------------------------------------------------------------------------


def test_a_path_is_there_when_there_is_something_in_it(tmp_path: Path) -> None:
    """An empty mount point let everything go, and everything failed again."""
    data = tmp_path / "data"
    assert PROBE.cured(order("data.missing", str(data))).words == "it is not there"
    data.mkdir()
    assert not PROBE.cured(order("data.missing", str(data))).cured
    (data / "shard").touch()
    assert PROBE.cured(order("data.missing", str(data))).cured
    assert PROBE.cured(order("data.missing", str(data / "shard"))).words == "it is empty"


def test_a_relative_path_is_that_of_the_command(tmp_path: Path) -> None:
    """The supervisor's own folder has no data/ and never will."""
    (tmp_path / "data.bin").write_text("x")
    assert PROBE.cured(order("data.missing", "data.bin", tmp_path)).cured
    assert not PROBE.cured(order("data.missing", "data.bin", "/")).cured


def test_a_path_that_cannot_be_looked_at_is_not_there_yet(tmp_path: Path) -> None:
    """A name that no file system takes must not end the probe with a traceback."""
    assert not PROBE.cured(order("data.missing", str(tmp_path / ("x" * 300)))).cured


# --- volumes -----------------------------------------------------------------------------------------------


def test_a_volume_has_room_by_its_share_and_more_after_each_relapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gibibyte was free, the checkpoint had two: let go, full, held, let go … all night."""
    real = os.statvfs(tmp_path)
    free = {"blocks": 2 * 2**30 // 4096}

    def faked(path: str) -> os.statvfs_result:
        whole = 100 * 2**30 // 4096
        values = (4096, 4096, whole, free["blocks"], free["blocks"], 10**6, 10**6, 10**6, 0, 255)
        return os.statvfs_result((*values, real.f_fsid))

    monkeypatch.setattr(os, "statvfs", faked)
    assert PROBE.cured(order("disk.full", "/scratch")).cured
    again = PROBE.cured(order("disk.full", "/scratch", relapses=1))
    assert not again.cured and again.words == "2.0 GiB free, 4.0 GiB wanted"
    free["blocks"] = 10
    assert not PROBE.cured(order("disk.full", "/scratch")).cured


def test_a_volume_that_is_gone_has_no_room() -> None:
    """An unmounted volume looked like one with plenty of room: that of its mount point."""
    assert not PROBE.cured(order("disk.full", "/no/such/volume")).cured


def test_a_path_knows_its_volume(tmp_path: Path) -> None:
    """`no space left` names a file that is not there; the volume is what a person can free."""
    assert volume_of("/proc/self/nothing/at/all") == "/proc"
    assert os.path.ismount(volume_of(str(tmp_path / "a" / "b")))


def test_the_full_volume_is_found_where_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write names no file. The output's volume had room: it was "cured" at once, and all failed again."""
    mounts = tmp_path / "mounts"
    mounts.write_text("a / ext4 rw 0 0\nb /scratch xfs rw 0 0\nc /nfs nfs rw 0 0\nd /small tmpfs rw 0 0\n")
    whole = {"/": 2**38, "/scratch": 2**38, "/small": 2**22}
    free = {"/": 2**30, "/scratch": 2**20, "/small": 2**21}

    def faked(path: str) -> os.statvfs_result:
        blocks = (whole[path] // 4096, free[path] // 4096, free[path] // 4096)  # /nfs is not to be asked
        return os.statvfs_result((4096, 4096, *blocks, 10**6, 10**6, 10**6, 0, 255, 0))

    monkeypatch.setattr(os, "statvfs", faked)
    assert fullest(mounts) == "/scratch"
    free["/scratch"] = 2**30
    assert fullest(mounts) is None  # half of the small one is free
    free["/small"] = 2**16
    assert fullest(mounts) == "/small"


def test_what_may_only_be_late_is_told_from_what_is_missing(tmp_path: Path) -> None:
    """At three in the morning the automounter was slow: a typing error in a path earned one more try instead."""
    mounts, fstab = tmp_path / "mounts", tmp_path / "fstab"
    mounts.write_text("systemd-1 /auto autofs rw 0 0\nserver:/home /home nfs rw 0 0\n")
    fstab.write_text("# comment\nserver:/data /data nfs defaults 0 0\nserver:/home /home nfs defaults 0 0\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").touch()
    (tmp_path / "empty").mkdir()

    def late(path: str) -> bool:
        return may_be_late(path, mounts, fstab)

    assert late("/data/set/train.bin")  # in fstab, not mounted
    assert late("/auto/set")  # mounted on demand
    assert late(str(tmp_path / "empty" / "train.bin"))  # a mount point with nothing on it
    assert late(str(tmp_path / "full" / "other"))  # it has come by now
    assert not late(str(tmp_path / "full" / "train.bin"))
    assert not late("/home-is-another/x") and not late("data/train.bin") and not late("gs://bucket/x")


# --- hosts -------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    """A port that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_host_is_back_when_its_port_answers(port: int) -> None:
    """A name that resolves proves nothing: the service behind it was down."""
    assert PROBE.cured(order("network", f"127.0.0.1:{port}")).cured
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # ours, so that nobody else listens there
        found = PROBE.cured(order("network", f"127.0.0.1:{silent.getsockname()[1]}"))
    assert not found.cured and found.words == "no way to it: Connection refused"


@pytest.mark.parametrize("about", ["no-such-host.invalid", "a b", "host:port", "[::1", "x" * 300, "127.0.0.1:70000"])
def test_an_odd_name_is_no_traceback(about: str) -> None:
    """What a log calls a host may be anything."""
    assert not PROBE.cured(order("network", about)).cured


@pytest.mark.parametrize(("answer", "cured"), [("200 OK", True), ("407 Auth", True), ("502 Bad Gateway", False)])
def test_the_runs_proxy_is_asked_where_they_have_one(tmp_path: Path, answer: str, cured: bool) -> None:
    """Behind a proxy no host ever answers directly: held for ever, or let go although the proxy had no way."""
    asked: list[bytes] = []
    env = tmp_path / "launch.env"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                asked.append(link.recv(1000))
                link.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())

        proxy = threading.Thread(target=serve)
        proxy.start()
        env.write_text(json.dumps({"https_proxy": f"http://127.0.0.1:{server.getsockname()[1]}", "no_proxy": "x.org"}))
        found = PROBE.cured(order("network", "huggingface.co", env=env))
        proxy.join()
    assert found.cured is cured
    assert asked[0].startswith(b"CONNECT huggingface.co:443 HTTP/1.1\r\n")


def test_a_host_that_needs_no_proxy_is_asked_itself(tmp_path: Path, port: int) -> None:
    """`no_proxy` names the mirror in the house."""
    env = tmp_path / "launch.env"
    env.write_text(json.dumps({"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "other, 127.0.0.1"}))
    assert PROBE.cured(order("network", f"127.0.0.1:{port}", env=env)).cured
    env.write_text("no JSON")
    assert PROBE.cured(order("network", f"127.0.0.1:{port}", env=env)).cured


def test_what_no_look_can_show_is_never_cured() -> None:
    """A token is good when it works, and not before."""
    assert not PROBE.cured(order("auth", "huggingface.co")).cured
