"""The fake executor: a window onto a fake world."""

from collections.abc import Mapping, Sequence

from overnight.executors.fake.sinks import FileSink
from overnight.executors.fake.world import FakeWorld
from overnight.model.events import Event
from overnight.model.run import Slot
from overnight.ports import AttemptRef, Busy, Clock, Condemned, Placement, RunRef, SlotRequest, StartOrder


class FakeExecutor:
    """Where attempts follow a script. To crash it, forget it and open another window onto the same world."""

    name = "fake"

    def __init__(self, world: FakeWorld, knobs: Mapping[str, object] | None = None) -> None:
        """`knobs`: a `[fake]` table for orders that bring none."""
        self._world = world
        self._knobs = dict(knobs or {})
        self._out: list[tuple[RunRef, Event]] = []
        world.watch(self)

    @classmethod
    def on_files(cls, clock: Clock) -> "FakeExecutor":
        """For real campaigns: attempts leave the files that a shim would, and are found again by them."""
        return cls(FakeWorld(clock, FileSink()))

    def tell(self, ref: RunRef, event: Event) -> None:
        """The world's word; reported by the next poll."""
        self._out.append((ref, event))

    def acquire(self, request: SlotRequest) -> Placement | Busy:
        """Take a free slot of the fake host."""
        with self._world.lock:
            return self._world.slots.acquire(request, self)

    def release(self, slot: Slot) -> None:
        """Give up a slot that was acquired here and not passed on."""
        with self._world.lock:
            self._world.slots.free(slot, self)

    def quarantine(self, slot: Slot, why: str) -> None:
        """Give it to nobody any more, as long as the fake host exists."""
        with self._world.lock:
            self._world.slots.quarantine(slot, why)

    def freed(self) -> bool:
        """Slots come free with the ends of attempts here."""
        return False

    def condemned(self) -> Sequence[Condemned]:
        """None here: a fake attempt leaves nothing behind."""
        return ()

    def start(self, order: StartOrder) -> None:
        """Begin a scripted attempt. Raises Refusal for knobs that cannot be followed."""
        self._world.start(order, order.knobs or self._knobs)

    def adopt(self, target: AttemptRef) -> None:
        """Find out what became of an attempt."""
        self._world.adopt(target)

    def stop(self, target: AttemptRef, grace: float) -> None:
        """End an attempt."""
        self._world.stop(target, grace)

    def set_bound(self, target: AttemptRef, seconds: float | None, grace: float) -> None:
        """Replace an attempt's bound."""
        self._world.set_bound(target, seconds, grace)

    def poll(self) -> Sequence[tuple[RunRef, Event]]:
        """What happened by now."""
        with self._world.lock:
            self._world.advance()
            out, self._out = self._out, []
            return out

    def fileno(self) -> int | None:
        """There is none: `due` tells."""
        return None

    def due(self) -> float | None:
        """When something happens next; at once if there is something to report."""
        with self._world.lock:
            return self._world.clock.now().mono if self._out else self._world.due()

    def close(self) -> None:
        """The world goes on unwatched."""
        self._world.watch(None)
