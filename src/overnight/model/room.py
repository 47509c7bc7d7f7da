"""Room on a disk."""

from overnight.model.codec import Struct


class Room(Struct, frozen=True):
    """What is left on the volume of `path`."""

    path: str
    free_bytes: int
    size_bytes: int
