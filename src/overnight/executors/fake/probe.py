"""Looks at attempts of a fake world, without files."""

from collections.abc import Sequence

from overnight.executors.fake.world import FakeWorld
from overnight.ports import AttemptRef, Cursor, Look, LookOrder, Mark


class FakeProbe:
    """Sees what a probe of the output would see. In a cursor, `lines` counts output and `offset` steps."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def look(self, order: LookOrder) -> Look:
        """What is new since the cursor."""
        world, cursor = self._world, order.cursor
        with world.lock:
            world.advance()
            life = world.lives.get(order.attempt_dir)
            if life is None or life.started is None:
                return Look(order.ref, order.n, cursor, life=False)
            at = life.elapsed(world.clock.now().mono)
            lines, step = life.script.lines_by(at), life.script.step(at) or 0
        total = float(life.knobs.steps) or None
        first = mark = None
        if step > cursor.offset:
            mark = Mark(float(step), total)
            first = Mark(float(max(cursor.offset, life.script.first_step) + 1), total)
        seen = Cursor(size=lines, inode=1, offset=max(step, cursor.offset), lines=lines)
        return Look(
            order.ref, order.n, seen, life=lines > cursor.lines, lines=lines - cursor.lines, first=first, mark=mark
        )

    def save_evidence(self, target: AttemptRef) -> Sequence[str]:
        """There is nothing to save."""
        return ()
