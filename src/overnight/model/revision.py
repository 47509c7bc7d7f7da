"""A revision: a numbered change of policy, rows or code, chained to the one before by digest."""

from overnight.model.campaign import Device
from overnight.model.codec import Struct
from overnight.model.manifest import RunSpec
from overnight.model.policy import CodeIdentity, Policy


class Revision(Struct, frozen=True):
    """What `revisions/<n>.json` holds. The first is the launch itself."""

    n: int  # from 1
    at: str  # UTC, ISO 8601
    by: str  # user@host, or `supervisor`
    why: str
    policy: Policy  # all of it, as it holds from here on
    code: CodeIdentity
    added: tuple[RunSpec, ...] = ()
    changed: tuple[RunSpec, ...] = ()  # rows that were there, with the policy of their own that holds from here on
    dropped: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    patch: str | None = None  # the difference of the code to its commit; at most 256 KiB
    previous: str | None = None  # SHA-256 of the bytes of revision n - 1
    schema: int = 1
