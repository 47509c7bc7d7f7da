"""The database: SQLite, its schema and questions. One process writes (`SqliteStore`); any number read
(`ReadStore`), whether or not anybody writes."""

from overnight.store.errors import StoreFault as StoreFault
from overnight.store.reading import ReadStore as ReadStore
from overnight.store.reading import StoreReader as StoreReader
from overnight.store.sqlite import SqliteStore as SqliteStore
