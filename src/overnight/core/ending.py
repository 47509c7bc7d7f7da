"""Whose doing an attempt's end was, from what the supervisor and the shim know."""

from overnight.model.run import Attempt
from overnight.model.states import EndedBy


def ended_by(attempt: Attempt) -> EndedBy:
    """Who ended it. A command that ended by itself before our signal came has ended by itself."""
    record = attempt.exit
    if attempt.cause is not None or record is None or not record.recorded:
        return EndedBy.LOST if attempt.stop is None else attempt.stop
    if record.stopped is None:
        return EndedBy.ITSELF
    if record.stopped == "bound" or attempt.stop is None:
        # The shim kept the bound alone, or carried out a wish whose author was killed before it was recorded.
        return EndedBy.TIMEOUT if record.stopped == "bound" else EndedBy.CANCEL
    return attempt.stop


def stop_class(attempt: Attempt) -> str | None:
    """The class that goes with an end which was our doing; None where the attempt ended by itself."""
    by = ended_by(attempt)
    if by == EndedBy.ITSELF:
        return None
    if by == EndedBy.LOST:
        return attempt.cause
    if attempt.stop is None and by == EndedBy.TIMEOUT:
        return "timeout.wall"
    if by == EndedBy.CANCEL:
        return "cancelled"
    return attempt.stop_class
