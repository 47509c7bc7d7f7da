"""The bytes of revisions, and their chain."""

from overnight.manifest.canonical import digest
from overnight.model.codec import ValidationError, from_json, replace, to_json
from overnight.model.manifest import Refusal
from overnight.model.revision import Revision as Revision

PATCH_BYTES = 256 * 1024
CUT = "\n… cut here: the difference is longer than this record keeps\n"


def revision_bytes(revision: Revision) -> bytes:
    """What `revisions/<n>.json` holds. A patch beyond 256 KiB is cut, and says so at its end."""
    if revision.patch is not None:
        revision = replace(revision, patch=bounded_patch(revision.patch))
    return to_json(revision)


def bounded_patch(patch: str, most: int = PATCH_BYTES) -> str:
    """At most `most` bytes of UTF-8; characters that are no text become question marks."""
    data = patch.encode("utf-8", "replace")
    if len(data) > most:
        data = data[: most - len(CUT.encode())].rsplit(b"\n", 1)[0] + CUT.encode()
    return data.decode("utf-8", "replace")


def load_revision(data: bytes, *, previous: bytes | None = None) -> Revision:
    """Read a revision back. `previous`: the bytes of the one before, to check the chain (n = 1 has none).

    Raises `Refusal` when the file is no revision, or does not follow the one before.
    """
    try:
        revision = from_json(data, Revision)
    except ValidationError as error:
        raise Refusal(f"this is no revision: {error}", "restore the file") from None
    except ValueError as error:
        raise Refusal(f"this revision cannot be read: {error}", "restore the file") from None
    if previous is not None and revision.previous != digest(previous):
        raise Refusal(f"revision {revision.n} does not follow revision {revision.n - 1}", "one of them was changed")
    return revision
