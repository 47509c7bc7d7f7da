"""Opening a database: pragmas, and the numbered migrations that bring it to this version's schema."""

import os
import sqlite3

from overnight.store.errors import StoreFault

APPLICATION_ID = 0x4F564E54  # "OVNT", in the file's header
_MIGRATIONS = os.path.join(os.path.dirname(__file__), "migrations")
_CACHE_KIB = 16 * 1024
_CHECKPOINT_PAGES = 4000  # about 16 MB of WAL: a checkpoint syncs twice, and not in every hundredth turn
_WAL_LIMIT_BYTES = 64 * 1024 * 1024  # what a launch of 100,000 rows leaves is given back


def migrations() -> list[tuple[int, str]]:
    """(number, path) of every migration, in order."""
    names = sorted(name for name in os.listdir(_MIGRATIONS) if name.endswith(".sql"))
    return [(int(name.removesuffix(".sql")), os.path.join(_MIGRATIONS, name)) for name in names]


def version(connection: sqlite3.Connection) -> int:
    """Number of the last migration applied to this database; 0: none, it is new."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Bring the writer's connection and its database up to date; raises StoreFault for one that is newer or
    somebody else's. All missing migrations are one transaction: killed here, none has happened."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    known = migrations()
    check_version(connection, path, known[-1][0])
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(connection)):
        raise StoreFault(f"{path} is a database of something else", "choose another state directory", "foreign")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA cache_spill = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    if version(connection) < known[-1][0]:
        _migrate(connection, known)


def check_version(connection: sqlite3.Connection, path: str, newest: int) -> int:
    """The database's version; raises StoreFault if this installation is older than the database."""
    found = version(connection)
    if found > newest:
        raise StoreFault(
            f"the database {path} was written by a newer overnight (schema {found}; this one knows {newest})",
            "use the newer installation, or upgrade this one",
            "newer",
        )
    return found


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def _migrate(connection: sqlite3.Connection, known: list[tuple[int, str]]) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = version(connection)  # again: the lock is held only now
        for number, path in known:
            if number > done:
                for statement in _statements(path):
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {known[-1][0]}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(path: str) -> list[str]:
    """The single statements of a script: `executescript` would commit before it begins."""
    found: list[str] = []
    part = ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            part += line
            if line.rstrip().endswith(";") and sqlite3.complete_statement(part):
                found.append(part)
                part = ""
    return found
