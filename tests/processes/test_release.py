"""The release check: a GPU whose last run is gone goes to the next one when its memory is back, and not before."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import Ground, ground, lines
from keeper_world import await_that

from overnight.executors import trees
from overnight.executors.gpus import Memory, MemoryWatch
from overnight.executors.release import CHECK_SECONDS
from overnight.executors.slot_files import read_tenant, write_tenant
from overnight.executors.slots import SlotBook
from overnight.model.codec import replace
from overnight.model.run import Slot
from overnight.ports import Busy, Placement, RunRef, SlotRequest

__all__ = ["ground"]

MIB = 2**20
ONE = (("0", "GPU-aaaa"),)
REQUEST = SlotRequest("c", 1, ONE)


class Host:
    """A GPU of 80 GiB, and time that moves when told. Books on it are supervisors that come and go."""

    def __init__(self, slots: Path) -> None:
        self.slots, self.mono = slots, 1000.0
        self.used: int | None = 300 * MIB
        self.books: list[SlotBook] = []

    def ask(self) -> dict[str, Memory] | None:
        return None if self.used is None else {"GPU-aaaa": Memory(self.used, 80 * 1024 * MIB)}

    def book(self) -> SlotBook:
        memory = MemoryWatch(lambda: None, self.ask, lambda: self.mono)
        self.books.append(SlotBook(self.slots, memory, lambda: self.mono))
        return self.books[-1]

    def pass_on(self, book: SlotBook, attempt_id: str = "c.r.1") -> tuple[Slot, list[int]]:
        """An attempt begins: its slot and its shim's locks."""
        answer = book.acquire(REQUEST)
        if isinstance(answer, Busy):  # the memory has to be looked at first
            self.await_answer()
            answer = book.acquire(REQUEST)
        assert isinstance(answer, Placement), answer
        locks = book.take(answer.slot, RunRef("c", "r"), 1, attempt_id)
        assert isinstance(locks, list)
        return answer.slot, locks

    def end(self, book: SlotBook, slot: Slot, locks: list[int]) -> None:
        """Its shim has ended, and the supervisor has seen it."""
        self.mono += 0.5
        for fd in locks:
            os.close(fd)
        book.vacated(slot)
        book.check(slot)

    def look(self, book: SlotBook, after: float = 1.1) -> bool:
        """Time passes, and the memory is looked at; whether a check is over."""
        self.mono += after
        if book.checks.pursue():
            return True
        self.await_answer()
        self.mono += 0.01
        return book.checks.pursue()

    def await_answer(self) -> None:
        for thread in threading.enumerate():
            if thread.name == "gpu-memory":
                thread.join()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "slots")
    yield made
    for book in made.books:
        book.close()


def words(book: SlotBook) -> str:
    answer = book.acquire(REQUEST)
    assert isinstance(answer, Busy), answer
    return answer.words


def test_the_next_run_waits_until_the_memory_is_back(host: Host) -> None:
    """Out of memory in the first second: the run before had ended, and its 70 GiB were still being given back."""
    book = host.book()
    slot, locks = host.pass_on(book)
    host.used = 70 * 1024 * MIB
    host.end(book, slot, locks)
    assert not host.look(book)
    assert "GPU 0 is not free yet: 70.0 GiB of its memory are in use, 0.3 GiB were before" in words(book)
    assert "being checked" in words(host.book())
    host.used = 1500 * MIB  # within the tolerance, 2 % of the whole
    assert host.look(book)
    assert isinstance(book.acquire(REQUEST), Placement)


def test_memory_that_does_not_come_back_quarantines_the_gpu(host: Host) -> None:
    """A leaked GPU that failed one run after the other until morning, each with out of memory."""
    book = host.book()
    slot, locks = host.pass_on(book)
    host.used = 3 * 1024 * MIB
    host.end(book, slot, locks)
    while host.mono < 1000.5 + CHECK_SECONDS - 2.0:
        assert not host.look(book)
    assert not host.look(book, 5.0)
    (condemned,) = book.checks.take_condemned()
    assert (condemned.ref.run_id, condemned.n, condemned.slot) == ("r", 1, "gpu:0")
    assert "in use" in condemned.why and "quarantined" not in words(book), "said before it is done"
    assert host.look(book)
    said = words(book)
    assert "GPU 0 is quarantined: 60 s after attempt 1 of run r of c: 3.0 GiB of its memory are in use" in said
    assert "overnight slots release 0" in said
    assert "is quarantined" in words(host.book())


def test_a_successor_finishes_the_check(host: Host) -> None:
    """A supervisor killed in the middle of a check, and a leaked GPU that its successor took for free."""
    first = host.book()
    slot, locks = host.pass_on(first)
    host.used = 3 * 1024 * MIB
    host.end(first, slot, locks)
    assert not host.look(first, 40.0)
    first.close()
    second = host.book()
    second.check_all()
    assert "not free yet" in words(second)
    assert not host.look(second, 21.0)
    assert host.look(second), "the minute goes on where it was"
    assert "is quarantined" in words(second)


def test_whoever_comes_next_checks_what_nobody_saw_end(host: Host, tmp_path: Path) -> None:
    """Everything killed at once; the processes of the last run lived on, and the next one was put beside them."""
    first, attempt_id = host.book(), f"{tmp_path}.1"
    _, locks = host.pass_on(first, attempt_id)
    first.close()
    env = os.environ | {"OVERNIGHT_ATTEMPT_ID": attempt_id}
    lives = [sys.executable, "-c", "print(1, flush=True); input()"]
    with subprocess.Popen(lives, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None and left.stdout.readline()  # a process in exec has no environment
        for fd in locks:
            os.close(fd)
        second = host.book()
        assert "GPU 0 is not free yet" in words(second)
        assert not host.look(second)
        assert f"processes of it are alive: {left.pid} (python" in words(second)
        left.kill()
        left.wait()
    assert host.look(second)
    assert isinstance(second.acquire(REQUEST), Placement)


def test_who_is_in_the_middle_of_exec_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that becomes another has no environment for a moment: one look saw nobody, and the GPU was free."""
    real, seen = trees._carries, list[int]()

    def carries(pid: int, attempt_id: str | None) -> bool:
        found = real(pid, attempt_id)
        seen.extend([pid] * found)
        return found and len(seen) > 1

    monkeypatch.setattr(trees, "_carries", carries)
    env = os.environ | {"OVERNIGHT_ATTEMPT_ID": "exec.1"}
    lives = [sys.executable, "-c", "print(1, flush=True); input()"]
    with subprocess.Popen(lives, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None and left.stdout.readline()
        assert [each.pid for each in trees.members(attempt_id="exec.1")] == [left.pid]
        left.kill()


def test_a_driver_that_stops_answering_is_no_proof(host: Host) -> None:
    """A hung driver behind a killed run, taken for a GPU that has nothing in use."""
    book = host.book()
    slot, locks = host.pass_on(book)
    host.used = None
    host.end(book, slot, locks)
    assert not host.look(book)
    assert "the driver does not tell" in words(book)
    host.used = 300 * MIB
    assert host.look(book, 6.0)
    slot, locks = host.pass_on(book)
    host.used = None
    host.end(book, slot, locks)
    assert not host.look(book)
    assert not host.look(book, CHECK_SECONDS + 6.0)
    assert host.look(book)
    assert "is quarantined" in words(book)


def test_without_a_driver_the_tree_alone_is_the_proof(tmp_path: Path) -> None:
    """A box without NVML on which every GPU was quarantined after its first run."""
    book = SlotBook(tmp_path / "slots")
    for _ in range(2):
        answer = book.acquire(SlotRequest("c", 1, (("0", None),)))
        assert isinstance(answer, Placement), answer
        locks = book.take(answer.slot, RunRef("c", "r"), 1, "c.r.1")
        assert isinstance(locks, list)
        for fd in locks:
            os.close(fd)
        book.vacated(answer.slot)
        book.check(answer.slot)
        assert book.checks.pursue()
    book.close()


def test_a_shared_gpu_is_checked_when_the_last_one_leaves(host: Host) -> None:
    """Half a GPU quarantined for the memory that its other half was using."""
    book = host.book()
    halves = []
    for n in (1, 2):
        answer = book.acquire(SlotRequest("c", 0.5, ONE))
        if isinstance(answer, Busy):
            host.await_answer()
            answer = book.acquire(SlotRequest("c", 0.5, ONE))
        assert isinstance(answer, Placement), answer
        locks = book.take(answer.slot, RunRef("c", f"r{n}"), 1, f"c.r{n}.1")
        assert isinstance(locks, list)
        halves.append((answer.slot, locks))
    host.used = 9 * 1024 * MIB
    host.end(book, *halves[0])
    assert book.checks.due() is None
    host.end(book, *halves[1])
    assert not host.look(book)
    assert "9.0 GiB of its memory are in use, 0.3 GiB were before" in words(book)


# --- with real supervisors ---------------------------------------------------------------------------------


def with_gpus(ground: Ground, *used_mib: int) -> dict[str, str]:
    """The environment of a host with so many GPUs, whose memory is told by files."""
    tools = ground.base / "tools"
    tools.mkdir(exist_ok=True)
    script = '#!/bin/sh\nn=0\nfor file in "$(dirname "$0")"/gpu-*; do\n'
    script += 'echo "$n, GPU-000$n, H100, $(cat "$file"), 81559, 3, 30, 0"; n=$((n + 1)); done\n'
    (tools / "nvidia-smi").write_text(script)
    (tools / "nvidia-smi").chmod(0o755)
    for number, used in enumerate(used_mib):
        (tools / f"gpu-{number}").write_text(str(used))
    visible = ",".join(str(n) for n in range(len(used_mib)))
    return ground.env | {"PATH": f"{tools}:/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": visible}


def test_a_campaign_waits_for_a_gpu_and_goes_on_by_itself(ground: Ground) -> None:
    """A supervisor killed while a GPU was given back, and a successor that started the next run into its memory."""
    env = with_gpus(ground, 10)
    memory = ground.base / "tools" / "gpu-0"
    rows = ground.file("rows.csv", "n\n1\n2\n")
    leaks = f'echo "$1" >> told; [ "$1" = 1 ] && echo 40000 > {memory}; exit 0'
    campaign = ground.launch("--runs", rows, "--gpus", 1, "--", "sh", "-c", leaks, "x", "{n}", env=env)
    await_that(lambda: ground.counts(campaign).get("succeeded") == 1)
    await_that(lambda: "not free yet: 39.1 GiB" in ground.overnight("why", campaign, "n_2").out)
    term = ground.holder["term"]
    os.kill(ground.supervisor(), 9)
    ground.in_control(term)
    await_that(lambda: "not free yet: 39.1 GiB" in ground.overnight("why", campaign, "n_2").out)
    assert lines(ground.work / "told") == ["1"]
    memory.write_text("10")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 2})
    assert lines(ground.work / "told") == ["1", "2"]


def test_a_quarantined_gpu_is_everybodys_and_a_person_brings_it_back(ground: Ground) -> None:
    """Eight GPUs, one of which leaked: the campaign stood still, or every second run of it failed."""
    env = with_gpus(ground, 10, 10)
    tools = ground.base / "tools"
    rows = ground.file("rows.csv", "n\n1\n2\n3\n4\n")
    leaks = f'[ "$1" != 1 ] || echo 40000 > {tools}/gpu-$CUDA_VISIBLE_DEVICES; echo $CUDA_VISIBLE_DEVICES >> told'
    campaign = ground.launch("--runs", rows, "--gpus", 1, "--", "sh", "-c", leaks, "x", "{n}", env=env)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    leaked = (tools / "gpu-1").read_text().strip() == "40000"
    key, entry = f"gpu-GPU-000{leaked:d}", f"{leaked:d}"
    ground.overnight("supervisor", "stop", env=env)
    # An hour later, as far as the check is concerned.
    with (ground.slots / key).open("r+b") as file:
        tenant = read_tenant(file.fileno())
        assert tenant.checked_since is not None and tenant.run_id == "n_1"
        write_tenant(file.fileno(), replace(tenant, checked_since=tenant.checked_since - 3600.0))
    assert slot(ground, entry, env)["state"] == "checking"
    ground.overnight("supervisor", "start", env=env)
    await_that(lambda: slot(ground, entry, env)["state"] == "quarantined")
    needs = ground.status(campaign)["needs"]
    assert [need["command"] for need in needs] == [f"overnight slots release {entry}"], needs
    assert "39.1 GiB of its memory are in use" in needs[0]["why"]

    second = ground.launch("--name", "both", "--gpus", 2, "--", "true", env=env)
    await_that(lambda: f"GPU {entry} is quarantined" in ground.overnight("why", second).out)
    assert f"overnight slots release {entry}" in ground.overnight("why", second, "run-1").out
    (tools / f"gpu-{entry}").write_text("10")
    ground.overnight("slots", "release", entry, env=env)
    await_that(lambda: ground.counts(second) == {"succeeded": 1})


def slot(ground: Ground, entry: str, env: dict[str, str]) -> dict[str, object]:
    slots = ground.overnight("slots", "--json", env=env).document["slots"]
    return next(line for line in slots if line["slot"] == f"gpu:{entry}")
