"""Room on a disk."""

from overnight.model.codec import Struct

# Below: what ends with no better cause ended of the disk, and what is silent may just not be able to write.
LOW_BYTES, LOW_INODES = 64 << 20, 1000


class Room(Struct, frozen=True):
    """What is left on the volume of `path`."""

    path: str
    free_bytes: int
    size_bytes: int
