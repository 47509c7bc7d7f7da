"""The release check: a GPU goes to the next run only when the last one's processes are gone and its memory is back at
the level before it; else, after a minute, it is quarantined and a person is told.

What is owed stands in the lock file: whoever takes the lock next finds it there and makes the check first, be that
the supervisor that saw the attempt end, its successor, or one of another root. Memory is what counts, never the
driver's list of processes: a container hides them.
"""

import time
from collections.abc import Callable

from overnight.executors.gpus import Memory, MemoryWatch
from overnight.executors.slot_files import SlotFiles, Tenant, close_all, write_tenant
from overnight.executors.trees import members
from overnight.model.codec import replace
from overnight.ports import Condemned, RunRef
from overnight.shim.shim import host_identity

CHECK_SECONDS = 60.0  # from the end of the attempt
LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0  # a mark that could not be written, a driver that did not answer
_GIB = 2**30


class _Check:
    """One GPU whose lock is in our hands until it is proven free."""

    __slots__ = ("after", "asking", "began", "due", "fd", "found", "memory", "proven", "tenant", "verdict")

    def __init__(self, fd: int, tenant: Tenant, began: float, now: float, proven: bool) -> None:
        self.fd, self.tenant, self.began, self.proven = fd, tenant, began, proven
        self.asking = False
        self.memory: Memory | None = None  # as last looked at
        self.verdict = ""  # why it is quarantined, once that has been said
        self.after = now  # memory must have been looked at later than this
        self.due = now
        self.found = "its release is being checked"


class ReleaseChecks:
    """The checks that are ours. Never waits: `pursue` is called when memory has been looked at and when it is `due`."""

    def __init__(self, files: SlotFiles, memory: MemoryWatch | None, now: Callable[[], float] = time.monotonic) -> None:
        self._files, self._memory, self._now = files, memory, now
        self._boot = str(host_identity()["boot"])
        self._checks: dict[str, _Check] = {}
        self.condemned: list[Condemned] = []

    def begin(self, key: str, fd: int, tenant: Tenant, *, proven: bool = False) -> bool:
        """Make the check that `tenant` owes; the lock is ours from now on. False: nothing is owed. `proven`: its
        tree is known to be gone."""
        if not tenant.attempt_id:
            return False
        now = self._now()
        if tenant.checked_since is None or tenant.boot != self._boot or tenant.checked_since > now:
            tenant = replace(tenant, boot=self._boot, checked_since=now)
            write_tenant(fd, tenant)
        self._checks[key] = _Check(fd, tenant, tenant.checked_since or now, now, proven)
        return True

    def words(self, key: str) -> str | None:
        """How far the check of this slot has come; None if there is none."""
        check = self._checks.get(key)
        return None if check is None else check.found

    def pursue(self) -> bool:
        """Go on with all of them; whether one is over."""
        now = self._now()
        over = [key for key, check in self._checks.items() if self._over(key, check, now)]
        for key in over:
            close_all([self._checks.pop(key).fd])
        return bool(over)

    def take_condemned(self) -> list[Condemned]:
        """Slots that are quarantined at the next look; each once."""
        found, self.condemned = self.condemned, []
        return found

    def due(self) -> float | None:
        """When `pursue` has something to do (monotonic seconds)."""
        return min((check.due for check in self._checks.values()), default=None)

    def close(self) -> None:
        """Let go; what is owed stands in the lock files."""
        close_all([check.fd for check in self._checks.values()])
        self._checks.clear()

    def _over(self, key: str, check: _Check, now: float) -> bool:
        if check.verdict:
            return now >= check.due and self._quarantine(key, check, now)
        if not self._known(check, now):
            return False
        left = self._left(check, now)
        if left is None:
            write_tenant(check.fd, Tenant())
            return True
        check.found = left
        if now - check.began < CHECK_SECONDS:
            return False
        tenant = check.tenant
        why = f"{CHECK_SECONDS:.0f} s after attempt {tenant.n} of run {tenant.run_id} of {tenant.campaign}: {left}"
        self.condemned.append(Condemned(RunRef(tenant.campaign, tenant.run_id), tenant.n, tenant.slot or key, why))
        check.verdict, check.due = why, now + LOOK_SECONDS
        return False

    def _quarantine(self, key: str, check: _Check, now: float) -> bool:
        try:
            self._files.mark("quarantine", key, check.tenant.slot or key, check.verdict)
        except OSError as error:
            check.found = f"it cannot be quarantined ({error.strerror}): {check.verdict}"
            check.due = now + _AGAIN_SECONDS
            return False
        write_tenant(check.fd, Tenant())
        return True

    def _known(self, check: _Check, now: float) -> bool:
        """Whether a look is due, and the memory has been looked at for it. One that is not back decides nothing."""
        if now < check.due and not check.asking:
            return False
        check.due = now + LOOK_SECONDS
        known = True
        if self._memory is not None and check.tenant.before is not None:
            known, check.memory = self._memory.used(check.tenant.uuid, check.after, _AGAIN_SECONDS)
        check.asking = not known
        return known

    def _left(self, check: _Check, now: float) -> str | None:
        """What is still to come, in words; None: all is as it was before the attempt."""
        check.after = now  # whatever is looked at next is looked at anew
        left = [] if check.proven else members(attempt_id=check.tenant.attempt_id)
        if left:
            return f"processes of it are alive: {', '.join(each.words for each in left[:3])}"
        if check.tenant.before is None or self._memory is None:
            return None
        memory = check.memory
        if memory is None:
            return "the driver does not tell how much of its memory is in use"
        if memory.used <= check.tenant.before + memory.tolerance:
            return None
        return _too_much(memory, check.tenant.before)


def _too_much(memory: Memory, before: int) -> str:
    return (
        f"{memory.used / _GIB:.1f} GiB of its memory are in use, {before / _GIB:.1f} GiB were before "
        f"(tolerance {memory.tolerance / _GIB:.1f} GiB)"
    )
