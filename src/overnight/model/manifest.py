"""The manifest: what is to be computed, and nothing about how, when, where or by whom."""

from overnight.model.codec import Struct, field
from overnight.model.policy import Policy, RowPolicy


class Row(Struct, frozen=True):
    """One run as the manifest names it: only the columns that command or `[env]` use, values as written."""

    run_id: str
    values: dict[str, str]
    env: dict[str, str] = field(default_factory=dict)  # `@env.NAME` columns


class Manifest(Struct, frozen=True):
    """The identity of a campaign. `command`: an argument list, or a string for `bash -c`."""

    name: str
    command: tuple[str, ...] | str
    env: dict[str, str]
    required: tuple[str, ...]
    rows: tuple[Row, ...]


class RunSpec(Struct, frozen=True):
    """One row with everything it brought: all columns (used or not) and its own policy."""

    run_id: str
    params: dict[str, str]  # every column of the row except `@` ones, values as written
    env: dict[str, str] = field(default_factory=dict)
    policy: RowPolicy = field(default_factory=RowPolicy)


class Frozen(Struct, frozen=True):
    """A campaign file, read and checked: what `launch` hands over."""

    campaign: str  # <name>-<first 10 of Crockford base-32 of the SHA-256>
    sha256: str  # hex, of `manifest_bytes`
    manifest_bytes: bytes  # RFC 8785
    manifest: Manifest
    runs: tuple[RunSpec, ...]
    policy: Policy
    warnings: tuple[str, ...] = ()


class Fault(Struct, frozen=True):
    """One thing wrong with what a person wrote."""

    message: str  # what was found, and what is allowed
    file: str | None = None
    line: int | None = None
    hint: str | None = None


class Refusal(Exception):
    """A request that cannot be done as written; nothing was changed. Exit code 2."""

    def __init__(self, message: str, hint: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = faults
