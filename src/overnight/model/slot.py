"""Slots: what an attempt runs on."""

from overnight.model.codec import Struct


class Slot(Struct, frozen=True):
    """A GPU set or CPU share of a host. `keys` name its lock files; `gpu_ids` go to CUDA_VISIBLE_DEVICES."""

    name: str  # `gpu:0,1` or `cpu:0`
    keys: tuple[str, ...] = ()
    gpu_ids: tuple[str, ...] = ()


UNKNOWN_SLOT = Slot("unknown")  # of an attempt of which only some files are left
