"""Lines of a log, and the named numbers on them. Work is bounded: 4 kB of a line, every repetition in a pattern."""

import math
import re

LINE_BYTES = 4096  # of a line, considered
MOST_METRICS = 24

_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\-_])")
NUMBER = r"[+-]?\d[\d,_]{0,24}(?:\.\d{0,24})?(?:[eE][+-]?\d{1,4})?"
_PART = "train|training|val|valid|validation|eval|test|dev|lm|learning|grad|total|mean"
_WORD = r"[A-Za-z_][A-Za-z0-9_./-]{0,47}"
_NAMED = re.compile(
    rf"(?<![\w.])(?:(?P<part>{_PART})\s)?(?P<name>{_WORD})[\"']?"
    rf"(?:\s{{0,4}}[:=]\s{{0,8}}[\"']?|\s{{1,4}})(?P<value>{NUMBER})(?![\w:/]{{0,1}}[:/]\d)"
)
BEYOND_NUMBERS = re.compile(rf"(?i){_WORD}[\"']?(?:\s{{0,4}}[:=]\s{{0,8}}|\s{{1,4}})[+-]?(?:nan|inf)\b")
_QUANTITY = re.compile(
    r"(?i)(?:loss|acc|accuracy|lr|rate|ppl|perplexity|bpb|norm|mfu|score|f1|auc|error|err|reward|time|dt)$"
)
_COUNTERS = {
    "iter", "iters", "iteration", "iterations", "step", "steps", "global_step", "update", "it", "global", "epoch",
    "epochs", "rank", "pid", "gpu", "line", "port", "seed", "version", "eta", "micro_step", "v_num",
}  # fmt: skip
_SOURCES = (".py", ".cc", ".cpp", ".cu")  # `[logging.py:96:log_dist]`


def number(text: str | None) -> float | None:
    """`1,234`, `1_234`, `2.5e3` as a finite float; None when it is none."""
    try:
        value = float((text or "").replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def lines_of(data: bytes) -> list[bytes]:
    """The non-empty lines of `data`; a carriage return ends one too, so each state of a bar is a line."""
    return [line for line in data.replace(b"\r", b"\n").split(b"\n") if line]


def plain(line: bytes) -> str:
    """The first 4 kB of a line as text, colours and cursor movements stripped."""
    text = line[:LINE_BYTES].decode("utf-8", "replace")
    if "\b" in text:  # Keras draws its bar over itself with them
        text = text.replace("\b", "")
    return _ANSI.sub("", text) if "\x1b" in text else text


def metrics_of(line: str) -> dict[str, float]:
    """Named numbers on a marker's line: `loss 2.1`, `lr=3e-4`, `val loss: 2.4` (as `val_loss`).

    A bare space between name and number is believed only of words that name a quantity. Not-a-numbers and
    infinities are left out: they have no JSON.
    """
    found: dict[str, float] = {}
    for match in _NAMED.finditer(line):
        name = match["name"]
        separated = line[match.end("name") : match.start("value")].strip(" \t\"'")
        if name.lower() in _COUNTERS or name.endswith(_SOURCES) or (not separated and not _QUANTITY.search(name)):
            continue
        if (value := number(match["value"])) is None:
            continue
        found[f"{match['part']}_{name}" if match["part"] else name] = value
        if len(found) >= MOST_METRICS:
            break
    return found
