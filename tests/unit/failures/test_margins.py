"""What stands before every line of one log is found by looking at the log."""

import pytest

from overnight.failures.margins import own_words
from overnight.failures.source import Source

WORDS = ("loading shards", "compiled the model", "Traceback (most recent call last):", "    main()", "saved", "done")
STEPS = tuple(f"step {i} loss 0.{i}" for i in range(60))


@pytest.mark.parametrize("margin", ["1764100{:03}.5 ", "svc{:03}=trainer> ", "train-worker-{} pytorch "])
def test_a_margin_of_no_known_form(margin: str) -> None:
    """Rules anchored at a line's beginning were deaf to a whole log."""
    lines = [margin.format(i) + words for i, words in enumerate((*WORDS, *STEPS))]
    source = Source("\n".join(lines).encode())
    assert [own_words(source, line.encode()).text for line in lines] == [*WORDS, *STEPS]


@pytest.mark.parametrize(
    "lines",
    [STEPS, tuple(f"INFO {words}" for words in (*WORDS, *STEPS)), WORDS * 3, ("same",) * 40],
    ids=["progress", "levels", "plain", "one line"],
)
def test_what_lines_say_is_no_margin(lines: tuple[str, ...]) -> None:
    """A progress line's own words, or a level that tells something, must not be taken off."""
    source = Source("\n".join(lines).encode())
    assert [own_words(source, line.encode()).text for line in lines] == list(lines)
