"""The database: SQLite, its schema and questions. One process writes (`SqliteStore`); any number read
(`ReadStore`), whether or not anybody writes."""

from typing import TYPE_CHECKING, Any

from overnight.store.errors import StoreFault as StoreFault
from overnight.store.reading import ReadStore as ReadStore
from overnight.store.reading import StoreReader as StoreReader

if TYPE_CHECKING:
    from overnight.store.sqlite import SqliteStore as SqliteStore


def __getattr__(name: str) -> Any:
    """The writer loads on first use: readers start without it."""
    if name == "SqliteStore":
        from overnight.store.sqlite import SqliteStore

        return SqliteStore
    raise AttributeError(f"module 'overnight.store' has no attribute {name!r}")
