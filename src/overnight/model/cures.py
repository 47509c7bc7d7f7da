"""Cures: what is asked of the world about a cause that several runs have in common, and what it answers."""

from overnight.model.codec import Struct


class CureOrder(Struct, frozen=True):
    """Look whether what several runs met is cured. `about`: the host, path or volume; `launch_env`: the file of what
    its runs inherit, proxies among it; `relapses`: how often a look found it cured and it came again."""

    name: str
    about: str
    cwd: str
    launch_env: str
    relapses: int = 0


class Cured(Struct, frozen=True):
    """What a look found, in words that go on from the cause's name."""

    cured: bool
    words: str
