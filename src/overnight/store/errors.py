"""What sqlite says, in words for people."""

import os
import sqlite3

from overnight.ports import StoreError

REBUILD = "overnight rebuild makes a new database from the campaign files"  # api.errors adds which root's

# By the beginning of sqlite's own names (https://www.sqlite.org/rescode.html); the first that fits.
_WORDS: tuple[tuple[str, str, str | None], ...] = (
    ("SQLITE_FULL", "the disk of the database {path} is full", "free space there; nothing was changed"),
    ("SQLITE_IOERR_SHMSIZE", "the disk of the database {path} is full", "free space there; nothing was changed"),
    ("SQLITE_READONLY", "the database {path} cannot be written: it or its file system is read-only", None),
    ("SQLITE_CORRUPT", "the database {path} is damaged", REBUILD),
    ("SQLITE_NOTADB", "{path} is no database", REBUILD),
    ("SQLITE_BUSY", "somebody else is writing to the database {path}", "only a supervisor may; end the other"),
    ("SQLITE_LOCKED", "somebody else is writing to the database {path}", "only a supervisor may; end the other"),
    ("SQLITE_IOERR", "reading or writing the database {path} failed", "look at the disk, and at the kernel's log"),
    ("SQLITE_CANTOPEN", "the database {path} cannot be opened", "is its directory there, and yours to use?"),
    ("SQLITE_PERM", "the database {path} may not be used by you", None),
)


class StoreFault(StoreError):
    """A `StoreError` that knows what to do about it. `kind`: sqlite's name of the error, or a word of ours; `path`: of
    the database, where it matters whose it is."""

    def __init__(self, message: str, hint: str | None = None, kind: str = "", path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind
        self.path = path

    @property
    def full(self) -> bool:
        """The disk has no room."""
        return self.kind.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"))


def absent(path: str) -> StoreFault:
    """Of a database that is not there, or in a folder that is closed to us."""
    folder = os.path.dirname(path)
    if os.path.isdir(folder) and not os.access(folder, os.X_OK, effective_ids=True):
        hint = "ask as that user, or name a root of your own with --root or OVERNIGHT_ROOT"
        return StoreFault(f"{folder} is another user's, and closed to you", hint, "closed")
    return StoreFault(f"there is no database {path}", "nothing has been launched here yet", "missing")


def in_words(problem: sqlite3.Error, path: str) -> StoreFault:
    """`problem` as a fault with sqlite's own words at its end."""
    kind = getattr(problem, "sqlite_errorname", None) or type(problem).__name__
    for beginning, words, hint in _WORDS:
        if kind.startswith(beginning):
            return StoreFault(f"{words.format(path=path)} (sqlite: {problem})", hint, kind, path)
    return StoreFault(f"the database {path} could not be used (sqlite: {problem})", None, kind)
