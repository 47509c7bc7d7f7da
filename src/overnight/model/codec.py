"""The one module that knows msgspec: validated structs, and the codecs of all that is stored or sent."""

from typing import Any, TypeVar

import msgspec
from msgspec import Struct as Struct
from msgspec import ValidationError as ValidationError
from msgspec import field as field
from msgspec.structs import asdict as asdict
from msgspec.structs import replace as replace

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="deterministic").encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def to_json(value: Any) -> bytes:
    """`value` as compact JSON with its keys sorted."""
    return _encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode and validate; raises `ValidationError` (a `ValueError`) that names the bad field."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    result: T = decoder.decode(data)
    return result


def builtins(value: Any) -> Any:
    """Structs to plain dicts and lists."""
    return msgspec.to_builtins(value)


def convert(value: Any, kind: type[T]) -> T:
    """Plain dicts and lists to a struct; raises `ValidationError`."""
    return msgspec.convert(value, kind)


def pretty(value: Any) -> bytes:
    """`value` as indented JSON with a final newline, for files that people open."""
    return msgspec.json.format(_encode(value), indent=2) + b"\n"
