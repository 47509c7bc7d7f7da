"""`overnight slots`: what everybody on a host can see and change, without a supervisor."""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from client_world import Overnight

from overnight import nvidia
from overnight.executors.slot_files import SlotFiles
from overnight.executors.slots import SlotBook
from overnight.model.run import Slot
from overnight.ports import Placement, RunRef, SlotRequest

DRIVER = """#!/bin/sh
echo '0, GPU-aaaa, H100, 10, 81559, 7, 30, 0'
echo '1, GPU-bbbb, H100, 9000, 81559, 7, 30, 0'
"""
TWO = (("0", "GPU-aaaa"), ("1", "GPU-bbbb"))


@pytest.fixture
def host(tmp_path: Path, own_world: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlotBook]:
    """A host of two GPUs, one of which somebody uses without asking; the book is a supervisor's."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "nvidia-smi").write_text(DRIVER)
    (tmp_path / "tools" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    monkeypatch.setenv("OVERNIGHT_SLOTS_DIR", str(tmp_path / "slots"))
    monkeypatch.setattr(nvidia, "_nvml", lambda: None)
    monkeypatch.setattr(nvidia, "DEADLINE_SECONDS", 60.0)  # a busy machine is no hung driver
    book = SlotBook(tmp_path / "slots")
    yield book
    book.close()


def table(overnight: Overnight, *words: str) -> dict[str, dict[str, object]]:
    document = json.loads(overnight("slots", *words, "--json").out)
    assert document["host"] == os.uname().nodename
    return {line["slot"]: line for line in document["slots"]}


def hold(book: SlotBook, gpus: float) -> tuple[Slot, list[int]]:
    answer = book.acquire(SlotRequest("bat-0123456789", gpus, TWO))
    assert isinstance(answer, Placement), answer
    locks = book.take(answer.slot, RunRef("bat-0123456789", "s0"), 2, "bat-0123456789.s0.2")
    assert isinstance(locks, list)
    return answer.slot, locks


def let_go(locks: list[int]) -> None:
    """Its shim has ended."""
    for fd in locks:
        os.close(fd)


def test_who_holds_what(host: SlotBook, overnight: Overnight) -> None:
    """A box where nobody could say whose run was on GPU 0, and since when."""
    assert {line["state"] for line in table(overnight).values()} == {"free"}
    gpu, cpu = hold(host, 1), hold(host, 0)
    found = table(overnight)
    assert list(found) == ["gpu:0", "gpu:1", "cpu:0"]
    busy = found["gpu:0"]
    assert (busy["state"], busy["campaign"], busy["run_id"], busy["attempt"]) == ("busy", "bat-0123456789", "s0", 2)
    assert str(busy["since"]).endswith("Z") and busy["memory_used"] == 10 * 2**20
    assert (found["gpu:1"]["state"], found["gpu:1"]["reason"]) == (
        "free", "somebody outside of Overnight uses its memory",
    )  # fmt: skip
    said = overnight("slots").out
    assert "bat-0123456789/s0 attempt 2" in said and "10 MiB of 81559" in said
    let_go([*gpu[1], *cpu[1]])
    assert table(overnight)["gpu:0"]["state"] == "checking"


def test_a_drained_gpu_finishes_what_runs_and_takes_nothing_new(host: SlotBook, overnight: Overnight) -> None:
    """A GPU that was needed by eight, and only `cancel` could get it back."""
    slot, locks = hold(host, 1)
    found = table(overnight, "drain", "0", "--until", "2h", "--why", "for the demo")
    assert found["gpu:0"]["state"] == "busy" and "drained by" in str(found["gpu:0"]["reason"])
    let_go(locks)
    host.vacated(slot)
    host.check(slot)
    assert table(overnight)["gpu:0"]["state"] == "checking"
    host.checks.pursue()
    line = table(overnight)["gpu:0"]
    assert (line["state"], line["reason"], line["command"]) == (
        "drained", "for the demo", "overnight slots release 0",
    )  # fmt: skip
    assert overnight("slots", "release", "gpu:0").code == 0
    assert table(overnight)["gpu:0"]["state"] == "free"


def test_until_a_time_of_day_is_the_next_one(
    host: SlotBook, overnight: Overnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain until 08:00, typed at nine in the evening, that was over before it began."""
    nine = datetime(2026, 3, 10, 21, 0).timestamp()
    monkeypatch.setattr(time, "time", lambda: nine)
    for text in ("08:00", "00:00", "23:59"):
        assert overnight("slots", "drain", "0,1", "--until", text).code == 0
        for key in ("gpu-GPU-aaaa", "gpu-GPU-bbbb"):
            mark = SlotFiles(os.environ["OVERNIGHT_SLOTS_DIR"]).marked("drain", key)
            assert mark is not None and mark.until is not None
            assert 0 < mark.until - time.time() <= 25 * 3600
            assert time.strftime("%H:%M", time.localtime(mark.until)) == text


def test_a_quarantined_gpu_is_named_with_its_command(host: SlotBook, overnight: Overnight) -> None:
    """A GPU that was out of the game since two o'clock, and nobody knew that a person could bring it back."""
    SlotFiles(os.environ["OVERNIGHT_SLOTS_DIR"]).mark("quarantine", "gpu-GPU-bbbb", "gpu:1", "Xid 79")
    line = table(overnight)["gpu:1"]
    assert (line["state"], line["reason"], line["command"]) == ("quarantined", "Xid 79", "overnight slots release 1")
    assert "overnight slots release 1" in overnight("slots").out
    assert table(overnight, "release", "GPU-bb")["gpu:1"]["state"] == "free"
    assert json.loads(overnight("slots", "--json", "release", "1").out)["slots"], (
        "one document, wherever the word stands"
    )
    assert overnight("slots", "release", "1").code == 0, "released twice is released"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("drain",), 2, "GPU"),
        (("drain", "0", "--until", "soon"), 2, '"soon" is no duration'),
        (("drain", "0", "--until", "25:00"), 2, "no duration"),
        (("drain", "0", "--until", "0s"), 2, "no time at all"),
        (("drain", "7"), 3, "this host has no slot '7'"),
        (("release", "GPU-cccc"), 3, "there are: gpu:0, gpu:1"),
        (("release", "../x"), 3, "no slot"),
        (("drain", "0", "9"), 3, "no slot '9'"),
    ],
)
def test_what_cannot_be_done_is_refused_whole(
    words: tuple[str, ...], code: int, said: str, host: SlotBook, overnight: Overnight
) -> None:
    """A slip of the keyboard that drained the first GPU of three and then gave up."""
    answer = overnight("slots", *words)
    assert (answer.code, said in answer.err) == (code, True), answer.err
    assert not list(Path(os.environ["OVERNIGHT_SLOTS_DIR"]).glob("*.drain"))


def test_cpu_slots_are_not_drained(host: SlotBook, overnight: Overnight) -> None:
    """cpu:0 drained, and the next run on cpu:1: a request that means nothing."""
    _, locks = hold(host, 0)
    answer = overnight("slots", "drain", "cpu:0")
    assert (answer.code, "overnight pause" in answer.err) == (2, True)
    let_go(locks)


def test_another_users_mark_is_left_alone(
    host: SlotBook, overnight: Overnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback for whoever wanted a colleague's GPU back; the kernel says who may."""
    assert overnight("slots", "drain", "0").code == 0
    real = os.unlink

    def refused(path: str, **how: object) -> None:
        if str(path).endswith(".drain"):
            raise PermissionError(1, "Operation not permitted", path)
        real(path)

    monkeypatch.setattr(os, "unlink", refused)
    answer = overnight("slots", "release", "0")
    assert answer.code == 2 and "gpu:0 was set aside by" in answer.err and "or root can change that" in answer.err


def test_a_host_without_gpus_says_so(
    own_world: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overnight: Overnight
) -> None:
    """An empty table that looked like a broken one."""
    monkeypatch.setenv("OVERNIGHT_SLOTS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "no GPU is known" in overnight("slots").out
    assert json.loads(overnight("--json", "slots").out)["slots"] == []
    assert not (tmp_path / "none").exists()
