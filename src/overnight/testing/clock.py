"""Time that moves when told."""

from overnight.model.time import Moment


class FakeClock:
    """A clock whose monotonic and wall time move by `advance` alone. Seconds."""

    def __init__(self, mono: float = 1000.0, wall: float = 1_700_000_000.0, boot: str = "boot-1") -> None:
        self.mono = mono
        self.wall = wall
        self.boot = boot

    def now(self) -> Moment:
        """This moment."""
        return Moment(self.mono, self.wall, self.boot)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        assert seconds >= 0, "time does not go back; use `jump` for the wall clock"
        self.mono += seconds
        self.wall += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += seconds
