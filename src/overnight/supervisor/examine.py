"""The examiner: everything that an attempt left, put together: how it ended, its class, artifacts, last marker."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from overnight import failures
from overnight.artifacts import missing_artifacts
from overnight.core import ending
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.run import Attempt, Vitals
from overnight.model.states import EndedBy
from overnight.ports import Cursor, Examined, ExamineOrder, LookOrder, Probe
from overnight.probes.volumes import existing, fullest, may_be_late, volume_of
from overnight.supervisor import torchrun
from overnight.supervisor.rank_logs import rank_logs
from overnight.supervisor.teardown import hung_teardown
from overnight.supervisor.watches import marked, said_in

OWN_LIMIT = frozenset({"supervisor-timeout", "signal"})  # rules of a file that grew beyond the run's own limit
UNNAMED_VOLUME = "a volume that it does not name"
MOUNT_LATE = "mount.late"  # flag: what was missing may be there in a minute; core.retry gives it one more try
RULES_UNREADABLE = "rules.unreadable"  # flag: this version does not understand the campaign's own rules
CHECKPOINTS_KEPT = 3  # whole ones that are remembered: the newest may not load


class FileExaminer:
    """Examines attempts by their files. `whole(pattern, complete, excluded)` names the whole checkpoints, best
    first; may block, bounded by what the file system does."""

    def __init__(
        self, probe: Probe, whole: Callable[[str, str | None, Sequence[str]], Sequence[str]],
        kernel: Callable[[float, float, Sequence[str]], tuple[str, ...]] = lambda since, until, keys: (),
    ) -> None:  # fmt: skip
        """`kernel(since, until, keys)`: what the kernel's log says of that time (monotonic seconds of this boot) and of
        the slot with these keys."""
        self._probe = probe
        self._whole = whole
        self._kernel = kernel

    def examine(self, order: ExamineOrder) -> Examined:
        """Raises OSError where the ground is bad: it is asked again then."""
        vitals = self._last_look(order)
        found = self._class(order)
        if found.name == "none":
            missing = missing_artifacts(order.out_dir, order.required)
            if missing:
                words = f"exited 0 without {', '.join(missing)}"
                found = Classification("artifact.missing", "supervisor-artifacts", words, flags=found.flags)
        found = _placed(order, found)
        return Examined(found, vitals, self._checkpoints(order) if found.name != "none" else ())

    def _last_look(self, order: ExamineOrder) -> Vitals:
        """The attempt's vitals with the last lines read: a fast run ends before its first look."""
        vitals = order.attempt.vitals
        look = self._probe.look(
            LookOrder(order.ref, order.attempt.n, order.attempt_dir, order.out_dir, order.pattern, Cursor())
        )
        vitals = replace(vitals, lines=max(vitals.lines, look.cursor.lines), size=look.cursor.size)
        if look.said is not None:
            vitals = said_in(vitals, look.said)
        return vitals if look.mark is None else marked(replace(vitals, started_moving=True), look, look.mark)

    def _class(self, order: ExamineOrder) -> Classification:
        attempt = order.attempt
        record = attempt.exit
        by = ending.ended_by(attempt)
        if attempt.cause is not None:
            return Classification(attempt.cause, "executor", attempt.cause_words)
        if attempt.scheduler is None:  # else its word may say more than an exit code of 0, or none at all
            if by == EndedBy.ITSELF and record is not None and record.code == 0:
                return Classification("none", "exit-code")
            if by == EndedBy.LOST and (record is None or not record.recorded) and attempt.stop is None:
                return Classification("unknown", "shim-died", "the shim died without a record")
        log = Path(order.attempt_dir, "output.log")  # no pipe that the command may have put there: it would hold us
        rules, flags = _rules(order)
        if by == EndedBy.STALL and (done := hung_teardown(order, log, rules)) is not None:
            return replace(done, flags=flags)
        shown = f"attempts/{attempt.n}"
        named = rank_logs(order.logs, order.run_dir, order.attempt_dir)
        told, logs = torchrun.errors(order.attempt_dir, shown, order.elastic_error_file, named)
        found = failures.classify(
            log if log.is_file() else b"", self._outcome(order, attempt, by, told), rules,
            files=[*logs, *torchrun.worker_logs(order.attempt_dir, shown)],
        )  # fmt: skip
        found = replace(found, flags=(*found.flags, *flags))
        if found.evidence is None or found.evidence.line is None or found.evidence.file is not None:
            return found
        return replace(found, evidence=replace(found.evidence, file=f"attempts/{attempt.n}/{log.name}"))

    def _outcome(
        self, order: ExamineOrder, attempt: Attempt, by: EndedBy, told: tuple[failures.ElasticError, ...]
    ) -> failures.Outcome:
        record = attempt.exit
        name = ending.stop_class(attempt) or ""
        free = os.statvfs(existing(order.attempt_dir))  # it was never made, or somebody removed it
        return failures.Outcome(
            exit_code=None if record is None else record.code,
            signal=None if record is None else record.signal,
            ended_by=(EndedBy.ITSELF if by == EndedBy.LOST else by).value,
            stall=name if name.startswith("stall.") else None,
            timeout=name if by == EndedBy.TIMEOUT else None,
            words=attempt.stop_words,
            scheduler_state=attempt.scheduler,
            start_error=None if record is None else record.error,
            start_errno=None if record is None else record.errno,
            free_bytes=free.f_bavail * free.f_frsize,
            free_inodes=free.f_favail if free.f_files else None,
            kernel=self._kernel_lines(attempt),
            elastic_errors=told,
        )

    def _kernel_lines(self, attempt: Attempt) -> tuple[str, ...]:
        started, ended, record = attempt.started, attempt.ended, attempt.exit
        if started is None or ended is None or record is None or started.boot != ended.boot:
            return ()
        until = record.ended_mono if record.ended_mono is not None else ended.mono
        return self._kernel(started.mono, until, attempt.slot.keys)

    def _checkpoints(self, order: ExamineOrder) -> tuple[str, ...]:
        if order.checkpoint is None:
            return ()
        return tuple(self._whole(order.checkpoint, order.complete, order.excluded)[:CHECKPOINTS_KEPT])


def _rules(order: ExamineOrder) -> tuple[failures.RuleSet, tuple[str, ...]]:
    """The campaign's own rules before ours. They were checked at launch, but maybe by another version of us."""
    own = order.rules
    if own is None:
        return failures.load_rules(), ()
    try:
        return failures.with_own(own.text, own.file), ()
    except failures.RuleFault:
        return failures.load_rules(), (RULES_UNREADABLE,)


def _placed(order: ExamineOrder, found: Classification) -> Classification:
    """What it is about, as only somebody with the disk before him can say it, and without the run's own name."""
    about = found.about
    if found.name == "disk.full" and not about and found.rule in OWN_LIMIT:
        return found  # a limit that is the run's own is nobody else's cause
    if found.name == "disk.full":
        quota = about.startswith(failures.QUOTA)
        path = about.removeprefix(failures.QUOTA).strip()
        volume = volume_of(path) if path.startswith("/") else (fullest() or UNNAMED_VOLUME)
        about = f"{failures.QUOTA} on {volume}" if quota else volume
    elif found.name == "data.missing" and may_be_late(about):
        found = replace(found, flags=(*found.flags, MOUNT_LATE))
    elif found.name in ("code", "config", "import"):
        about = _unnamed(about, order.ref.run_id)
    return replace(found, about=about)


def _unnamed(about: str, run_id: str) -> str:
    """Without the run's own name, as written and as it reads where numbers are left out."""
    about, like = about.replace(run_id, "{run_id}"), failures.likeness(run_id)
    if not any(map(str.isalpha, like)):
        return about
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(like)}(?![A-Za-z0-9])", "{run_id}", about)
