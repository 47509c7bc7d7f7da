"""Durations as people write them."""

import pytest

from overnight.manifest import DurationFault, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("45m", 2700), ("24h", 86400), ("2d", 172800), ("1h30m", 5400), ("500ms", 0.5), ("1.5h", 5400)],
)
def test_units(text: str, seconds: float) -> None:
    """A limit read in another unit than meant killed healthy runs after 45 seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "0s", "0h0m", "0.0"])
def test_zero_names_the_way_out(text: str) -> None:
    """Zero meant "unbounded" in one tool and "at once" in another; here the words say what to write."""
    with pytest.raises(DurationFault) as refused:
        parse_duration(text, none_allowed=True)
    assert '"none"' in str(refused.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [("45", "no unit"), ("-5m", "negative"), ("5 m", "no duration"), ("", "no duration"), ("m", "no duration"),
     ("1h30", "no duration"), ("nan", "no duration"), ("9" * 400 + "d", "ten years"), ("1e3s", "no duration"),
     ("\u0661h", "no duration"), ("\u0663", "no duration")],
)  # fmt: skip
def test_refused(text: str, word: str) -> None:
    """A bare 45 was seconds to one reader and minutes to another."""
    with pytest.raises(DurationFault, match=word) as refused:
        parse_duration(text)
    assert refused.value.hint
