"""What `overnight doctor` finds."""

from enum import StrEnum

from overnight.model.codec import Struct


class Health(StrEnum):
    """How bad it is. `note`: something more could be had; `warn`: it will hurt some night; `bad`: it hurts now."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    BAD = "bad"


class Check(Struct, frozen=True):
    """One finding. `hint`: what to do; empty where there is nothing."""

    name: str
    health: Health
    words: str
    hint: str = ""
