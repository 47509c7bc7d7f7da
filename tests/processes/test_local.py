"""The local executor where things go wrong: shims killed and frozen, keepers gone, records of other hosts."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_benches import Doing, LocalBench, RealClock
from keeper_world import PATIENCE_SECONDS, alive, await_that, processes_of

from overnight.executors import course, endings, recovery
from overnight.executors.local import LocalExecutor
from overnight.model.codec import replace
from overnight.model.events import AttemptEnded, AttemptLost, AttemptNeverBegan, AttemptStarted, Event, RunFaulted
from overnight.model.run import Process, Slot
from overnight.model.time import Moment
from overnight.ports import Busy, SlotRequest
from overnight.shim.shim import host_identity, process_start_ticks

FOR_EVER = Doing(seconds=None)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[LocalBench]:
    made = LocalBench(tmp_path)
    try:
        yield made
    finally:
        made.close()


def shim_of(here: LocalBench, run_id: str) -> int:
    process = here.runs(run_id).process
    assert process is not None
    return process.pid


def words_of_loss(here: LocalBench, run_id: str) -> str:
    event = here.last(run_id, AttemptLost)
    assert event is not None
    return event.why


def start_command(here: LocalBench, run_id: str, script: str) -> None:
    """An attempt of this shell script."""
    order = here.order(run_id, FOR_EVER)
    path = Path(order.attempt_dir) / "env.json"
    spec = json.loads(path.read_text())
    path.write_text(json.dumps(spec | {"argv": ["/bin/sh", "-c", f": {here.base / run_id}; {script}"]}))
    here.executor.start(order)


def apart(number: int) -> str:
    """Seconds to sleep that no other process sleeps."""
    return f"{number}.{os.getpid():09d}"


def await_sleepers(*seconds: str) -> None:
    """They are what they are meant to be: not the shell that will begin them, and out of exec."""
    await_that(lambda: all(processes_of(f"sleep\0{each}") for each in seconds))


def claimed_by(here: LocalBench, run_id: str, **other: object) -> None:
    """An attempt that a process of this description has claimed."""
    order = here.order(run_id, FOR_EVER)
    host = {**host_identity(), **{key: value for key, value in other.items() if key in host_identity()}}
    record = {"by": "shim", "host": host, "pid": 4_000_000, "start_ticks": 5, "mono": 1.0, "wall": 2.0}
    record |= {key: value for key, value in other.items() if key in record}
    (Path(order.attempt_dir) / "started").write_text(json.dumps(record))


class TestDeadShims:
    def test_the_tree_of_a_killed_shim_is_ended_before_it_counts_as_ended(self, here: LocalBench) -> None:
        """The out-of-memory killer took the shim, its trainer went on, and the next one joined it on the GPU."""
        left, bare, go = apart(1000), apart(1001), here.base / "go"
        saves = f"trap 'until [ -e {go} ]; do sleep 0.02; done; exit' TERM"
        start_command(
            here, "r", f"{saves}; setsid -f sh -c 'exec sleep {left}'; env -i sh -c 'exec sleep {bare}' & wait"
        )
        pid = shim_of(here, "r")
        await_sleepers(left, bare)
        os.kill(pid, signal.SIGKILL)
        here.until(lambda: here.last("r", AttemptLost))
        assert words_of_loss(here, "r") == "the shim died; its tree is being ended"
        assert not here.terminal("r")
        go.touch()
        event = here.ended("r")
        assert not event.exit.recorded and event.words == "the shim died without a record"
        assert event.started is not None and event.process is not None and event.process.pid == pid
        assert not processes_of(left) and not processes_of(bare)

    def test_a_tree_that_ignores_term_is_killed(self, here: LocalBench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Orphans that had heard TERM, did not care, and were then forgotten."""
        monkeypatch.setattr(endings, "TREE_GRACE_SECONDS", 0.2)
        here.start("r", Doing(seconds=None, ignores_term=True))
        pid = shim_of(here, "r")
        here.until(lambda: here.times_begun("r"))
        os.kill(pid, signal.SIGKILL)
        assert not here.ended("r").exit.recorded

    def test_a_shim_that_died_while_nobody_watched_is_settled_too(self, here: LocalBench) -> None:
        """Supervisor and shim killed together: a run that stayed `running` until somebody looked."""
        here.start("r", FOR_EVER)
        pid, target = shim_of(here, "r"), here.target("r")
        here.until(lambda: here.times_begun("r"))
        os.kill(pid, signal.SIGKILL)
        here.crash()
        here.executor.adopt(target)
        assert not here.ended("r").exit.recorded
        assert not processes_of(str(here.base / "r"))

    def test_what_left_the_session_is_found_though_all_who_knew_are_dead(self, here: LocalBench) -> None:
        """Shim, keeper and supervisor killed together: a trainer's daemon stayed for ever, beside the next attempt."""
        mark = apart(1003)
        start_command(here, "r", f"setsid -f sh -c 'exec sleep {mark}'; sleep 1004")
        pid, target = shim_of(here, "r"), here.target("r")
        await_sleepers(mark)
        here.world.keeper.kill()
        here.world.keeper.wait()
        os.kill(pid, signal.SIGKILL)
        here.world.keeper = here.world.another_keeper()
        here.crash()
        here.executor.adopt(target)
        assert not here.ended("r").exit.recorded
        assert not processes_of(mark)

    def test_a_frozen_shim_does_not_keep_its_tree_alive(
        self, here: LocalBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stop that waited for ever for a shim that somebody had stopped with ^Z."""
        monkeypatch.setattr(endings, "AFTER_GRACE_SECONDS", 0.2)
        here.start("r", FOR_EVER)
        pid = shim_of(here, "r")
        os.kill(pid, signal.SIGSTOP)
        here.executor.stop(here.target("r"), 0.1)
        event = here.ended("r")
        assert not event.exit.recorded and "killed" in event.words

    @pytest.mark.parametrize("session", [False, True])
    def test_a_number_that_belongs_to_another_process_now_is_left_alone(self, here: LocalBench, session: bool) -> None:
        """A pid reused after a crash: the editor of a colleague, killed as a stalled trainer. Reused by a shell's
        session, everything in that shell was killed with it."""
        innocent = subprocess.Popen(["sleep", "1000"], start_new_session=session)
        ticks = process_start_ticks(innocent.pid)
        assert ticks is not None
        claimed_by(here, "r", pid=innocent.pid, start_ticks=ticks - 1)
        here.executor.stop(here.target("r"), 0.1)
        assert not here.ended("r").exit.recorded
        assert innocent.poll() is None
        innocent.kill()
        innocent.wait()


class TestOtherHosts:
    def test_a_restart_of_this_host_is_the_end(self, here: LocalBench) -> None:
        """A box that rebooted, whose runs were waited for until somebody came."""
        claimed_by(here, "r", boot="another-boot")
        here.executor.adopt(here.target("r"))
        event = here.ended("r")
        assert event.cause == "node.lost" and not event.exit.recorded and event.started is not None

    def test_a_claim_that_a_power_cut_emptied_is_of_the_boot_before(self, here: LocalBench) -> None:
        """The power failed seconds after a start: its claim was there and empty, and the run was lost for ever. A
        record that was torn then is no word either."""
        here.order("empty", FOR_EVER)
        (Path(here.orders["empty"].attempt_dir) / "started").touch()
        claimed_by(here, "torn", boot="another-boot")
        (Path(here.orders["torn"].attempt_dir) / "exit").write_bytes(b"\0" * 100)
        for run_id in ("empty", "torn"):
            target = here.target(run_id)
            planned = Moment(1.0, 2.0, "another-boot")
            here.executor.adopt(replace(target, attempt=replace(target.attempt, planned=planned)))
            event = here.ended(run_id)
            assert event.cause == "node.lost" and not event.exit.recorded

    def test_another_host_is_unknown_until_it_answers(self, here: LocalBench, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root on a shared disk: the second host took the first one's runs for dead and started them twice."""
        monkeypatch.setattr(course, "RECHECK_SECONDS", 0.05)
        claimed_by(here, "r", boot="another-boot", hostname="gpu-17")
        here.executor.adopt(here.target("r"))
        here.until(lambda: here.last("r", AttemptLost))
        assert words_of_loss(here, "r") == "started on host gpu-17, which has not answered"
        here.executor.stop(here.target("r"), 0.1)
        here.look()
        assert not here.terminal("r")
        record = {"code": 6, "signal": None, "raw": 6 << 8, "seconds": 12.5}
        looked, real = [], recovery.look
        monkeypatch.setattr(recovery, "look", lambda *a, **k: looked.append(1) or real(*a, **k))
        (Path(here.orders["r"].attempt_dir) / "exit").touch()  # the name comes before the contents
        here.until(lambda: len(looked) >= 2)
        assert not here.terminal("r")
        (Path(here.orders["r"].attempt_dir) / "exit").write_text(json.dumps(record))
        assert here.ended("r").exit.code == 6
        assert len([event for event in here.of("r") if isinstance(event, AttemptLost)]) == 2

    def test_another_container_is_unknown_too(self, here: LocalBench) -> None:
        """A pod's sidecar that could not see the trainer's processes and called them gone."""
        claimed_by(here, "r", pidns="1")
        here.executor.adopt(here.target("r"))
        here.until(lambda: here.last("r", AttemptLost))
        assert not here.terminal("r")
        (Path(here.orders["r"].attempt_dir) / "exit").write_text("{}")
        here.executor.close()
        here.crash()
        here.executor.adopt(here.target("r"))
        here.ended("r")

    def test_a_restarted_container_took_its_processes_along(self, here: LocalBench) -> None:
        """A pod restarted in place, whose run was `running` in a namespace that was no more."""
        claimed_by(here, "r", init_start=1)
        here.executor.adopt(here.target("r"))
        assert here.ended("r").cause == "node.lost"


class TestDamage:
    def test_a_record_that_cannot_be_read_is_an_end_without_a_record(self, here: LocalBench) -> None:
        """An exit record of nothing but zeroes after a power cut, and a supervisor that died of it each time."""
        claimed_by(here, "r")
        (Path(here.orders["r"].attempt_dir) / "exit").write_bytes(b"\0" * 100)
        here.executor.adopt(here.target("r"))
        event = here.ended("r")
        assert not event.exit.recorded and "cannot be understood" in event.words

    def test_a_claim_that_cannot_be_read_is_not_taken_for_dead(
        self, here: LocalBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A torn claim file: started again beside the one that lived."""
        monkeypatch.setattr(course, "RECHECK_SECONDS", 0.05)
        order = here.order("r", FOR_EVER)
        (Path(order.attempt_dir) / "started").write_text("{")
        here.executor.adopt(here.target("r"))
        here.until(lambda: here.last("r", AttemptLost))
        assert not here.terminal("r")
        (Path(order.attempt_dir) / "started").unlink()
        here.never_began("r")

    def test_a_missing_directory_means_never_made_only_if_nothing_was_seen(
        self, here: LocalBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that was not mounted yet after a restart: all runs started again on an empty folder."""
        for run_id in ("made", "never"):
            order = here.order(run_id, FOR_EVER)
            for file in Path(order.attempt_dir).iterdir():
                file.unlink()
            Path(order.attempt_dir).rmdir()
        here.executor.adopt(here.target("never"))
        here.never_began("never")
        ours = host_identity()
        process = Process(
            str(ours["hostname"]), str(ours["boot"]), str(ours["pidns"]), int(ours["init_start"]), 4_000_000, 5
        )
        target = here.target("made")
        here.executor.adopt(replace(target, attempt=replace(target.attempt, process=process)))
        here.until(lambda: here.last("made", AttemptLost))
        assert "is gone" in words_of_loss(here, "made")
        here.executor.stop(here.target("made"), 0.1)  # who wants its end need not wait for the disk
        assert not here.ended("made").exit.recorded

    def test_an_error_concerns_one_run(self, here: LocalBench, monkeypatch: pytest.MonkeyPatch) -> None:
        """One strange record that stopped the loop, and with it the watch over everything else."""
        real = recovery.look

        def look(directory: str, **known: Any) -> object:
            if "bad" in directory and not here.last("bad", RunFaulted):
                raise ValueError("strange")
            return real(directory, **known)

        monkeypatch.setattr(course, "RECHECK_SECONDS", 0.05)
        monkeypatch.setattr(recovery, "look", look)
        here.start("bad", Doing(code=1))
        here.start("good", Doing(code=2))
        assert here.ended("good").exit.code == 2
        assert here.ended("bad").exit.code == 1
        faulted = here.last("bad", RunFaulted)
        assert faulted is not None and "strange" in faulted.problem


class TestKeepers:
    def test_without_its_keeper_an_attempt_goes_on_and_nothing_new_starts(self, here: LocalBench) -> None:
        """A keeper killed at night: runs killed with it, or new ones ordered from nobody."""
        here.start("live", Doing(code=9, waits=True))
        here.runs("live")
        here.world.keeper.kill()
        here.world.keeper.wait()
        here.until(lambda: here.executor.keeper_lost)
        assert isinstance(here.executor.acquire(SlotRequest("c", 0)), Busy)
        order = here.order("late", FOR_EVER, slot=Slot("cpu:77", ("cpu-77",)))
        here.executor.start(order)
        assert "no keeper" in here.never_began("late").why
        here.let_go("live")
        assert here.ended("live").exit.code == 9
        os.kill(here.world.supervisor_pid, signal.SIGKILL)

    def test_a_burst_on_a_stopped_keeper_is_neither_lost_nor_waited_for(self, tmp_path: Path) -> None:
        """The tail of a thousand starts that fell out of a full socket buffer."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        executor = LocalExecutor(RealClock(), ours, tmp_path / "slots")
        bench = LocalBenchWithout(tmp_path, executor)
        names = [f"r{n}" for n in range(60)]
        for name in names:
            executor.start(bench.order(name, FOR_EVER))
        received: list[str] = []
        theirs.setblocking(False)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while len(received) < len(names):
            assert time.monotonic() < give_up, received
            try:
                data, fds, _, _ = socket.recv_fds(theirs, 65536, 4)
            except BlockingIOError:
                assert not executor.poll()
                continue
            received.append(json.loads(data)["dir"])
            assert len(fds) == 1
            os.close(fds[0])
        assert received == [bench.orders[name].attempt_dir for name in names]
        theirs.close()
        events: list[Event] = []
        while len(events) < len(names):
            assert time.monotonic() < give_up, events
            events += [event for _, event in executor.poll()]
        assert all(isinstance(event, AttemptNeverBegan) for event in events)
        assert len(events) == len(names) and executor.keeper_lost
        executor.close()

    def test_a_slot_taken_meanwhile_is_not_started_on(self, here: LocalBench) -> None:
        """A start owed since the crash, performed on a GPU that another user had got in between."""
        order = here.order("r", FOR_EVER)
        here.executor.close()
        here.crash()
        other = LocalExecutor(
            RealClock(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0], here.base / "slots"
        )
        other.acquire(SlotRequest("theirs-0123456789", 0))
        here.executor.start(order)
        assert "theirs-0123456789" in here.never_began("r").why
        other.close()

    def test_a_slot_that_was_acquired_for_nothing_is_free_again(self, here: LocalBench) -> None:
        """An attempt directory left by an earlier life: its run was adopted, the slot for it leaked."""
        order = here.order("r", FOR_EVER)
        target = here.target("r")
        assert target.attempt.slot is order.slot
        here.executor.adopt(target)
        here.never_began("r")
        here.executor.start(order)
        assert here.acquire() == order.slot


class LocalBenchWithout(LocalBench):
    """Orders for an executor whose keeper the test plays."""

    def __init__(self, base: Path, executor: LocalExecutor) -> None:
        self.base, self.executor, self.events, self.orders = base, executor, [], {}


def test_a_live_attempt_costs_nothing_while_nothing_happens(here: LocalBench) -> None:
    """A supervisor that polled each of a thousand runs each second."""
    here.start("r", FOR_EVER)
    here.runs("r")
    here.look()
    assert here.executor.due() is None
    assert isinstance(here.executor.fileno(), int)


def test_the_locks_are_with_the_shim_alone(here: LocalBench) -> None:
    """A slot that stayed busy after its attempt because the supervisor had kept a copy of its lock."""
    order = here.start("r", FOR_EVER)
    pid = shim_of(here, "r")
    lock = here.base / "slots" / order.slot.keys[0]

    def holders() -> set[int]:
        found = set()
        for each in (os.getpid(), here.world.keeper.pid, pid, *processes_of(str(here.base / "r"))):
            with contextlib.suppress(FileNotFoundError):  # it may have ended meanwhile
                for fd in Path(f"/proc/{each}/fd").iterdir():
                    if fd.exists() and fd.resolve() == lock:
                        found.add(each)
        return found

    await_that(lambda: holders() == {pid})
    assert alive(pid)


def test_words_of_a_start_come_within_moments(here: LocalBench) -> None:
    """A run shown as `starting` for a second and more while it had long begun."""
    order = here.start("r", FOR_EVER)
    await_that((Path(order.attempt_dir) / "started").exists)
    here.until(lambda: here.executor.due() or here.last("r", AttemptStarted))  # the keeper has said that it forked it
    if (due := here.executor.due()) is not None:  # its claim is looked for then
        assert due - time.monotonic() < 0.1
        await_that(lambda: time.monotonic() > due)
        here.look()
    assert here.last("r", AttemptStarted)


def test_an_end_is_told_once_even_if_the_keeper_speaks_first(here: LocalBench) -> None:
    """Two reports of one end, by pidfd and by the keeper: the second one was taken for the next attempt's."""
    for n in range(20):
        here.start(f"r{n}", Doing())
    here.until(lambda: all(here.terminal(f"r{n}") for n in range(20)))
    here.look()
    assert all(len([e for e in here.of(f"r{n}") if isinstance(e, AttemptEnded)]) == 1 for n in range(20))
