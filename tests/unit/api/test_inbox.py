"""The inbox, both sides."""

import os
import select
from pathlib import Path

import pytest

from overnight.model.manifest import Refusal
from overnight.model.requests import Cancel, Pause, StopSupervisor
from overnight.supervisor import inbox
from overnight.supervisor.inbox import FileInbox, StateGone, new_request_id, submit, withdraw


def pause(campaign: str = "bat-1") -> Pause:
    return Pause(id=new_request_id(), by="ada@box", campaign=campaign)


def test_requests_arrive_whole_and_in_order(tmp_path: Path) -> None:
    """Guards against `cancel` overtaking the `launch` it was typed after."""
    box = FileInbox(tmp_path)
    sent = [pause("a"), Cancel(id=new_request_id(), by="x", campaign="a"), StopSupervisor(id=new_request_id(), by="x")]
    for request in sent:
        submit(tmp_path, request)
    assert list(box.read()) == sent
    assert list(box.read()) == sent, "reading takes nothing away: the commit does"
    box.delete([request.id for request in sent])
    box.delete([sent[0].id])
    assert box.read() == []
    box.close()


def test_a_half_written_request_is_not_seen(tmp_path: Path) -> None:
    """Guards against a client that was killed while writing: half a launch must not be taken, nor rejected."""
    box = FileInbox(tmp_path)
    (tmp_path / "inbox" / ".0001.tmp").write_bytes(b'{"type": "Pau')
    assert box.read() == []
    assert not (tmp_path / "inbox" / "rejected").exists()
    box.close()


@pytest.mark.parametrize("data", [b"", b"{", b'{"type": "Frobnicate"}', b"\xff\x00", b'{"type":"Pause","id":7}'])
def test_an_unreadable_request_stops_nobody_elses(tmp_path: Path, data: bytes) -> None:
    """Guards against one bad file (a newer client, a full disk of old) blocking the queue for ever."""
    box = FileInbox(tmp_path)
    (tmp_path / "inbox" / "0000-bad.json").write_bytes(data)
    good = pause()
    submit(tmp_path, good)
    assert list(box.read()) == [good]
    assert "0000-bad.json" in (inbox.rejection(tmp_path, "0000-bad") or "")
    assert (tmp_path / "inbox" / "rejected" / "0000-bad.json").read_bytes() == data
    box.close()


def test_a_request_under_another_name_is_rejected(tmp_path: Path) -> None:
    """Guards against a copied file being answered under an id that its file's deletion does not match."""
    box = FileInbox(tmp_path)
    request = pause()
    submit(tmp_path, request)
    (tmp_path / "inbox" / f"{request.id}.json").rename(tmp_path / "inbox" / "0-copy.json")
    assert box.read() == []
    assert "carries the id" in (inbox.rejection(tmp_path, "0-copy") or "")
    box.close()


def test_a_poke_wakes_the_supervisor(tmp_path: Path) -> None:
    """Guards against requests that wait for the next timer."""
    box = FileInbox(tmp_path)
    assert select.select([box.fileno()], [], [], 0)[0] == []
    submit(tmp_path, pause())
    assert select.select([box.fileno()], [], [], 5)[0] == [box.fileno()]
    box.drain()
    assert select.select([box.fileno()], [], [], 0)[0] == []
    box.close()


def test_nobody_there_to_wake_is_fine(tmp_path: Path) -> None:
    """Guards against a client that hangs opening a FIFO nobody reads, or writes into a plain file there."""
    os.mkfifo(tmp_path / "wake")
    submit(tmp_path, pause())
    (tmp_path / "wake").unlink()
    (tmp_path / "wake").write_bytes(b"")
    submit(tmp_path, pause())
    assert (tmp_path / "wake").read_bytes() == b""
    box = FileInbox(tmp_path)
    assert (tmp_path / "wake").is_fifo()
    assert len(box.read()) == 2
    box.close()


def test_what_waits_is_read_once(tmp_path: Path) -> None:
    """A launch of 100,000 rows that waited for a root that hung was read and parsed with every turn of the loop."""
    box = FileInbox(tmp_path)
    request = pause("c-1")
    submit(tmp_path, request)
    (first,) = box.read()
    (again,) = box.read()
    assert again is first
    assert withdraw(tmp_path, request.id) and box.read() == []


def test_a_full_disk_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback, or a half request, when the volume of the state is full."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inbox.os, "fsync", full)
    with pytest.raises(Refusal, match="no space left") as refusal:
        submit(tmp_path, pause())
    assert refusal.value.hint is not None
    assert list((tmp_path / "inbox").iterdir()) == []


def test_a_withdrawn_request_is_gone(tmp_path: Path) -> None:
    """Guards against a `supervisor stop` that failed and strikes at the next start."""
    request = pause()
    submit(tmp_path, request)
    assert inbox.pending(tmp_path, request.id)
    assert inbox.withdraw(tmp_path, request.id)
    assert not inbox.withdraw(tmp_path, request.id)
    box = FileInbox(tmp_path)
    assert box.read() == []
    box.close()


def test_what_dead_clients_left_is_swept(tmp_path: Path) -> None:
    """Guards against an inbox that fills with torn files over months; a client still writing keeps its own."""
    FileInbox(tmp_path).close()
    old, new = tmp_path / "inbox" / ".1.tmp", tmp_path / "inbox" / ".2.tmp"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1, 1))
    FileInbox(tmp_path).close()
    assert not old.exists()
    assert new.exists()


def test_a_state_that_was_replaced_is_not_ours(tmp_path: Path) -> None:
    """`rm -rf` of a root and a new launch there: the old supervisor took the new one's requests, and answered them
    into its deleted database; the client waited for two minutes."""
    box = FileInbox(tmp_path / "state")
    (tmp_path / "state").rename(tmp_path / "gone")
    with pytest.raises(StateGone):
        box.read()
    submit(tmp_path / "state", pause())
    with pytest.raises(StateGone):
        box.read()
    box.close()
