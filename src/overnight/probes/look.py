"""Looks: what a live attempt's files show, cheaply and without a word about our own clock and theirs.

A look at an unchanged log costs two `stat`: the log's and the progress file's. The walk of `{out_dir}` is made only
when the log was silent (output is life already), and not more often than twenty times its own duration, at most
WALK_SECONDS apart: on a slow file system with thousands of files the looks would otherwise be the load. Growth that
falls between two walks is seen by the next, so it is told late by at most that much and never lost. Checkpoints are
looked at under the same ration, whether the log is silent or not: they are an advance, and output is none.
"""

import contextlib
import os
import stat
import time
import zlib
from collections.abc import Callable, Sequence

from overnight.model.codec import replace
from overnight.ports import AttemptRef, Look, LookOrder
from overnight.probes import checkpoints, progress_file
from overnight.probes.gpu_use import GpuUse
from overnight.probes.lines import LINE_BYTES
from overnight.probes.markers import Found, Scanner, scanner
from overnight.probes.room import no_room

READ_BYTES = 4 << 20  # of new output in one look; what is more is skipped, and its lines are estimated
LEARN_BYTES = 1 << 20  # of an adopted log's past, read to learn which markers it has
WALK_ENTRIES, WALK_LEVELS = 2000, 4
WALK_SHARE, WALK_SECONDS = 20.0, 5.0
REMEMBERED = 20_000  # attempts

# These grow while a run hangs. Checkpoints kept inside them count.
TRACKERS = frozenset({"wandb", "mlruns", "tensorboard", "lightning_logs", "tb_logs", ".aim", ".neptune"})
TRACKER_FILES = ("events.out.tfevents",)
INSIDE_TRACKERS = frozenset({"checkpoints"})


class _Attempt:
    """What is remembered of an attempt between its looks. Its loss costs a second reading, nothing else."""

    __slots__ = ("declares", "no_room", "offset", "save_due", "scanner", "walk_due")

    def __init__(self, scan: Scanner) -> None:
        self.scanner = scan
        self.offset = -1  # up to where the scanner has read; -1: nothing
        self.walk_due = 0.0
        self.no_room = ""  # why silence proves nothing: a volume that it writes to is full
        self.save_due = 0.0
        self.declares = False  # its progress file names steps: those of the log are another count


class FileProbe:
    """`ports.Probe` on the files of an attempt. Thread-safe as long as one attempt is looked at by one thread
    at a time."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, gpus: Callable[[Sequence[str]], int | None] | None = None
    ) -> None:
        """`gpus`: how many of these are in use now, without waiting; None: not known."""
        self._now = now
        self._gpus = GpuUse().used if gpus is None else gpus
        self._attempts: dict[tuple[str, str | None], _Attempt] = {}

    def look(self, order: LookOrder) -> Look:
        """See `ports.Look`; never raises for the state of the files. `lines` counts those of the new output."""
        try:
            return self._look(order)
        except OSError as error:
            words = f"cannot look at {error.filename or order.attempt_dir}: {error.strerror or error}"
            return Look(order.ref, order.n, order.cursor, life=False, problem=words)

    def save_evidence(self, target: AttemptRef) -> Sequence[str]:
        """See `evidence.save_evidence`."""
        from overnight.probes.evidence import save_evidence  # only for attempts in trouble

        return save_evidence(target)

    def _look(self, order: LookOrder) -> Look:
        cursor = order.cursor
        path = order.attempt_dir + "/output.log"
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return self._without_log(order)
        if not stat.S_ISREG(status.st_mode):
            words = f"{path} is no regular file, and its command writes to the one that was there"
            return Look(order.ref, order.n, cursor, life=False, problem=words)
        known = self._remembered(order)
        if status.st_size != cursor.offset or status.st_ino != cursor.inode:
            look = self._read(order, known, path)
        else:
            look = self._grown(order, known, Look(order.ref, order.n, cursor, life=False))
        look = self._declared(order, known, self._saved(order, known, look))
        if order.gpus:
            look = replace(look, gpus_used=self._gpus(order.gpus))
        blind = f"{path} was replaced while its command writes to it" if look.cursor.replaced else known.no_room
        return replace(look, problem=blind) if blind and not look.life else look

    def _without_log(self, order: LookOrder) -> Look:
        if order.cursor.inode:
            words = f"{order.attempt_dir}/output.log was removed while its command writes to it"
            return Look(order.ref, order.n, order.cursor, life=False, problem=words)
        return Look(order.ref, order.n, order.cursor, life=False)

    def _remembered(self, order: LookOrder) -> _Attempt:
        key = order.attempt_dir, order.pattern
        known = self._attempts.get(key)
        if known is None:
            while len(self._attempts) >= REMEMBERED:
                with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was first
                    del self._attempts[next(iter(self._attempts))]
            known = self._attempts[key] = _Attempt(scanner(order.pattern))
        return known

    def _grown(self, order: LookOrder, known: _Attempt, quiet: Look) -> Look:
        """The log was silent: has a file grown?"""
        now = self._now()
        if now < known.walk_due:
            return quiet
        signature = signature_of(order.out_dir, order.checkpoint)
        known.no_room = no_room(order.attempt_dir) or no_room(order.out_dir)
        known.walk_due = _next(now, self._now())
        if signature == quiet.cursor.out_signature:
            return quiet
        grown = order.cursor.out_signature != 0
        return replace(quiet, cursor=replace(quiet.cursor, out_signature=signature), life=grown, grown=grown)

    def _saved(self, order: LookOrder, known: _Attempt, look: Look) -> Look:
        """Has a checkpoint changed?"""
        now = self._now()
        if order.checkpoint is None or now < known.save_due:
            return look
        signature = checkpoints.signature(order.checkpoint)
        known.save_due = _next(now, self._now())
        before = look.cursor.checkpoints
        if signature == before:
            return look
        saved = before != 0
        return replace(look, cursor=replace(look.cursor, checkpoints=signature), saved=saved, life=look.life or saved)

    def _declared(self, order: LookOrder, known: _Attempt, look: Look) -> Look:
        """What the run says of itself, where it says something new."""
        path = f"{order.attempt_dir}/{progress_file.NAME}"
        try:
            signature, said = progress_file.signature(os.stat(path)), None
            if signature != order.cursor.progress:
                said = progress_file.read(path)
                look = replace(look, cursor=replace(look.cursor, progress=signature), said=said, life=True)
        except (
            FileNotFoundError,
            IsADirectoryError,
            PermissionError,
        ):  # its program's affair, and no reason to be blind
            return look
        mark = None if said is None else said.mark
        known.declares = known.declares or mark is not None
        return replace(look, first=mark, mark=mark, anew=False) if known.declares else look

    def _read(self, order: LookOrder, known: _Attempt, path: str) -> Look:
        old = order.cursor
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            offset, tail, size = old.offset, old.tail, status.st_size
            replaced = bool(old.inode) and status.st_ino != old.inode
            if not old.inode:
                offset = self._begin(known, order.pattern, size)
            elif replaced or size < old.offset:  # or truncated: the same run goes on
                offset, tail = 0, b""
            elif known.offset != old.offset:
                self._learn(fd, known, old.offset)
            skipped = max(0, size - offset - READ_BYTES)
            if skipped:
                offset, tail = offset + skipped, b""
            data = _read_all(fd, offset, size - offset)
        finally:
            os.close(fd)
        found, lines, tail = _scan(known.scanner, tail + data if not skipped else _whole_lines(data))
        if skipped:
            lines += round(skipped * lines / max(1, len(data)))
        known.offset = offset + len(data)
        cursor = replace(
            old, size=size, inode=status.st_ino, offset=known.offset, tail=tail, lines=old.lines + lines,
            replaced=old.replaced or replaced,
        )  # fmt: skip
        return Look(
            order.ref, order.n, cursor, life=True, lines=lines,
            first=found.first, mark=found.mark, anew=found.anew, worked=found.worked,
        )  # fmt: skip

    def _begin(self, known: _Attempt, pattern: str | None, size: int) -> int:
        """A caller that has no cursor reads from the start, with nothing remembered. Where the start would be skipped
        and we have read it before (the last look at a long log), it goes on from there: what was counted up over
        epochs stays known."""
        if size - READ_BYTES > 0 and 0 < known.offset <= size:
            return known.offset
        if known.offset >= 0:
            known.scanner = scanner(pattern)
        return 0

    def _learn(self, fd: int, known: _Attempt, offset: int) -> None:
        """An adopted attempt: what came before the cursor tells which markers this log has."""
        known.scanner.scan(_read_all(fd, 0, min(offset, LEARN_BYTES)))
        if offset > LEARN_BYTES:
            start = max(LEARN_BYTES, offset - LEARN_BYTES)
            known.scanner.scan(_whole_lines(_read_all(fd, start, offset - start)))


def _next(began: float, now: float) -> float:
    """When a walk that began then may be made again."""
    took = now - began
    return now + min(WALK_SHARE * took, WALK_SECONDS)


def _scan(scan: Scanner, data: bytes) -> tuple[Found, int, bytes]:
    """The markers, lines ended, and the unfinished line (its first 4 kB: no more is considered)."""
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    whole = data[:end]
    found = scan.scan(whole) if end else Found()
    lines = whole.count(b"\n") + whole.count(b"\r") - whole.count(b"\r\n")
    return found, lines, data[end : end + LINE_BYTES]


def _whole_lines(data: bytes) -> bytes:
    """`data` without the rest of a line that it begins with."""
    found = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    return data[min(found) + 1 :] if found else data


def _read_all(fd: int, offset: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(fd, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def signature_of(out_dir: str, checkpoint: str | None = None) -> int:
    """A number that differs once a file under `out_dir` has come, gone or changed; never 0.

    Bounded: 2,000 entries, 4 levels. Sums over (name, size, mtime), so the order of entries is nothing to it, and
    our own clock neither. Folders that may not be entered are passed over; raises OSError for a file system that
    does not answer.
    """
    total, left = 1, WALK_ENTRIES
    if checkpoint is not None and "*" not in checkpoint:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            total += _weight(b"", os.stat(checkpoint))
    queue = [(out_dir, 1, True)]
    while queue and left > 0:
        folder, level, counts = queue.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        break
                    if entry.is_dir(follow_symlinks=False):
                        if level < WALK_LEVELS:
                            inside = counts or entry.name in INSIDE_TRACKERS
                            queue.append((entry.path, level + 1, inside and entry.name not in TRACKERS))
                    elif counts and not entry.name.startswith(TRACKER_FILES):
                        with contextlib.suppress(FileNotFoundError):
                            total += _weight(os.fsencode(entry.name), entry.stat(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
    return total % (1 << 63) or 1


def _weight(name: bytes, status: os.stat_result) -> int:
    return (
        zlib.crc32(name) * 2_654_435_761 + status.st_size * 0x9E3779B97F4A7C15 + status.st_mtime_ns * 0x2545F4914F6CDD1D
    )
