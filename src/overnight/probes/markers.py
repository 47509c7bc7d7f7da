r"""Markers: reading from a log how far a program has come.

A person's `[progress] pattern` decides alone where there is one. Without it the forms below are known, and of
them only the finest that this log has shown counts: a program that prints `iter 120` is not further because a
bar of its evaluation moved. Finest first:

  STEP    `iter 120: loss 2.1`, `step 120/5000`, `global_step=120`, `Epoch: [3][ 120/500]`, `Epoch: 3 [640/60000 (1%)]`
  BAR     tqdm's and Keras's `120/500 [`, also `Epoch 3:  24%|…| 120/500 [`
  EPOCH   `Epoch 3/10`, `'epoch': 0.05`

Guards against false markers, each with the thing that it keeps out:

- `step 2: loading data`: a STEP counts with a total of 10 or more, beside a named number, or at the end of its
  line; three of the last, weak kind are needed before bars count no more.
- `Total optimization steps = 500`, `warmup step 10`, `will stop at step 5000`, `val iter 3`: plurals, and words that
  speak of another step than the present one.
- `2/2 [` of a download, `Map: … 9/100 [`: a BAR counts with a total of 10 or more and without a description, or
  with one that speaks of training; never with units of bytes (`1.2G/5.0G`).
- An evaluation's bar inside the training's: until the bar being followed is full, bars of other totals are not it.
- Counters that start anew in each epoch would look like a fall: what earlier epochs had is added where the log
  names its epochs (`epoch * total + step` where a total is known), and where a bar begins again.

Work is bounded: 4 kB of a line, 2,000 candidate lines of one look (the first 500 and the last 1,500).
"""

import math
import re
import time
from collections.abc import Iterable
from typing import Protocol

from overnight.model.codec import Struct
from overnight.ports import Mark

LINE_BYTES = 4096  # of a line, considered
FIRST_LINES, LAST_LINES = 500, 1500
PATTERN_SECONDS = 1.0  # for a person's pattern in one look, per direction
SMALLEST_TOTAL = 10
WEAK_STEPS = 3
MOST_METRICS = 24

EPOCH, BAR, STEP = 1, 2, 3

_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\-_])")
_WORDS = (b"step", b"iter", b"epoch", b"update")
_BAR_BYTES = re.compile(rb"\d/\d{2,15} ?[\[\xe2]")

# Every repetition is bounded, so that no line can make a search slow.
_COUNT = r"\d[\d,_]{0,24}(?:\.\d{1,12})?(?:[eE]\+?\d{1,3})?"
_NUMBER = r"[+-]?\d[\d,_]{0,24}(?:\.\d{0,24})?(?:[eE][+-]?\d{1,4})?"
_STEP = re.compile(
    r"(?i)(?<![\w.])(?:(?:global|train|training|opt|optimizer)[ _-])?(?:iter|iteration|step|update)[\"']?"
    rf"(?:\s{{0,4}}[:=#]\s{{0,12}}|\s{{1,12}}|\s{{0,4}}[\[(]\s{{0,12}})(?P<n>{_COUNT})"
    rf"(?:\s{{0,4}}(?:/|of)\s{{0,12}}(?P<m>{_COUNT}))?(?![\w%]|\.\d)"
)
_OTHER_STEP = re.compile(
    r"(?i)(?:max|min|total|num|number|number of|warm-?up|every|each|per|until|till|at|from|to|of|by|best|last|final|"
    r"next|save|log|stop|after|before|since|val|valid|validation|eval|evaluation|test|predict|inference)[ _.:/-]{1,3}$"
)
_EPOCH_BATCH = re.compile(  # PyTorch's examples, mmengine, fairseq
    rf"(?i)(?<![\w.])epoch(?:\s?\(train\))?\s{{0,4}}[:=]?\s{{0,4}}\[?\s{{0,8}}(?P<e>{_COUNT})(?:\s?/\s?(?P<k>{_COUNT}))?"
    rf"(?:[:,\]]{{1,2}}\s{{0,12}}\[?|\s{{0,4}}\[)\s{{0,12}}(?P<n>{_COUNT})\s{{0,4}}/\s{{0,12}}(?P<m>{_COUNT})"
)
_EPOCH = re.compile(
    rf"(?i)(?<![\w.])epoch[\"']?\s{{0,4}}[:=#]?\s{{0,4}}[\[(]?\s{{0,8}}(?P<e>{_COUNT})"
    rf"(?:\s{{0,4}}(?:/|of)\s{{0,8}}(?P<k>{_COUNT}))?(?![\w%]|\.\d)"
)
_BAR = re.compile(r"(?<![\w./:-])(?P<n>\d{1,15})/(?P<m>\d{2,15}) ?(?:\[|[━─═╸╺]{2})")
_BEFORE_BAR = re.compile(r"\[[^\]]{0,40}\]|\d{1,3}%\s?\|.*")
_TRAINING = re.compile(r"(?i)train|epoch|step|iter|fit")
_NOT_TRAINING = re.compile(r"(?i)val|eval|test|predict|sanity|load|download|map|token|fetch|shard")
_LETTERS = re.compile(r"[^\W\d_]")

_PART = "train|training|val|valid|validation|eval|test|dev|lm|learning|grad|total|mean"
_WORD = r"[A-Za-z_][A-Za-z0-9_./-]{0,47}"
_NAMED = re.compile(
    rf"(?<![\w.])(?:(?P<part>{_PART})\s)?(?P<name>{_WORD})[\"']?"
    rf"(?:\s{{0,4}}[:=]\s{{0,8}}|\s{{1,4}})(?P<value>{_NUMBER})(?![\w:/]{{0,1}}[:/]\d)"
)
_BEYOND_NUMBERS = re.compile(rf"(?i){_WORD}[\"']?(?:\s{{0,4}}[:=]\s{{0,8}}|\s{{1,4}})[+-]?(?:nan|inf)\b")
_QUANTITY = re.compile(
    r"(?i)(?:loss|acc|accuracy|lr|rate|ppl|perplexity|bpb|norm|mfu|score|f1|auc|error|err|reward|time|dt)$"
)
_COUNTERS = {
    "iter", "iters", "iteration", "iterations", "step", "steps", "global_step", "update", "it", "global", "epoch",
    "epochs", "rank", "pid", "gpu", "line", "port", "seed", "version", "eta",
}  # fmt: skip


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
        if name.lower() in _COUNTERS or (not separated and not _QUANTITY.search(name)):
            continue
        if (value := number(match["value"])) is None:
            continue
        found[f"{match['part']}_{name}" if match["part"] else name] = value
        if len(found) >= MOST_METRICS:
            break
    return found


class Scanner(Protocol):
    """Finds markers in new, whole lines of one log; remembers between calls what it must."""

    def scan(self, data: bytes) -> tuple[Mark | None, Mark | None]:
        """The first and the newest marker in `data` (whole lines), or None and None."""


def scanner(pattern: str | None) -> Scanner:
    """A scanner for one log. Raises `re.error` for a pattern that does not compile, `ValueError` for one
    without a group named `step`."""
    return KnownForms() if pattern is None else Pattern(pattern)


class Pattern:
    """A person's pattern: group `step`, optionally `total`; other named groups that are numbers are metrics."""

    def __init__(self, pattern: str) -> None:
        compiled = re.compile(pattern)
        if "step" not in compiled.groupindex:
            raise ValueError("the pattern has no group named step: write (?P<step>\\d+)")
        self._search = compiled.search

    def scan(self, data: bytes) -> tuple[Mark | None, Mark | None]:
        """The newest is looked for first: a limit hangs on it, should the pattern be too slow for the rest."""
        lines = lines_of(data)
        last = self._first(reversed(lines))
        return (self._first(lines) if last is not None else None), last

    def _first(self, lines: Iterable[bytes]) -> Mark | None:
        until = time.monotonic() + PATTERN_SECONDS
        for line in lines:
            match = self._search(plain(line))
            if match is not None and (mark := _mark_of(match.groupdict())) is not None:
                return mark
            if time.monotonic() > until:
                break
        return None


def _mark_of(groups: dict[str, str | None]) -> Mark | None:
    numbers = {name: value for name, text in groups.items() if (value := number(text)) is not None}
    step = numbers.pop("step", None)
    return None if step is None else Mark(step, numbers.pop("total", None), numbers)


class Followed(Struct):
    """What is remembered of one log between looks."""

    form: int = 0  # the finest form seen
    weak: int = 0  # STEP markers that had nothing but the end of a line for them
    epoch: float | None = None  # the highest named
    epoch_line: float | None = None  # of a line `Epoch 3/10`, under which Keras draws its bar
    turned: bool = False  # a higher epoch was named since the counter last spoke
    base: float = 0.0  # steps of earlier epochs
    last: float = 0.0  # the counter as last printed
    bar_total: float | None = None  # of the bar being followed
    bar_last: float = 0.0
    bar_base: float = 0.0


class KnownForms:
    """What common loggers print."""

    def __init__(self) -> None:
        self._known = Followed()

    def scan(self, data: bytes) -> tuple[Mark | None, Mark | None]:
        """See `Scanner`."""
        first = last = None
        rank = 0
        for line in _candidates(data):
            found = self._read(plain(line))
            if found is None:
                continue
            form, mark = found
            if form > rank:  # a finer form than before: its series begins here
                first, rank = mark, form
            last = mark
        return first, last

    def _read(self, line: str) -> tuple[int, Mark] | None:
        known = self._known
        mark: Mark | None
        if (match := _EPOCH_BATCH.search(line)) is not None:
            mark, form = self._epoch_batch(match, line), STEP
        elif (match := _STEP.search(line)) is not None and (mark := self._step(match, line)) is not None:
            form = STEP
        elif (match := _BAR.search(line)) is not None:
            mark, form = self._bar(match, line), BAR
        elif (match := _EPOCH.search(line)) is not None:
            mark, form = self._epoch(match, line), EPOCH
        else:
            return None
        if mark is None or form < known.form:
            return None
        if form < STEP or known.weak == 0 or known.weak >= WEAK_STEPS:
            known.form = form
        return form, mark

    def _epoch_batch(self, match: re.Match[str], line: str) -> Mark | None:
        epoch, count, total = number(match["e"]), number(match["n"]), number(match["m"])
        if epoch is None or count is None or not total or _NOT_TRAINING.search(line, 0, match.start()):
            return None
        self._known.weak = 0
        return _in_epoch(epoch, number(match["k"]), count, total, metrics_of(line))

    def _step(self, match: re.Match[str], line: str) -> Mark | None:
        known = self._known
        count, total = number(match["n"]), number(match["m"])
        if count is None or _OTHER_STEP.search(line[: match.start()][-24:]):
            return None
        metrics = metrics_of(line)
        if metrics or (total or 0) >= SMALLEST_TOTAL or _BEYOND_NUMBERS.search(line):
            known.weak = 0 if known.weak < WEAK_STEPS else known.weak
        elif not line[match.end() :].strip(" \t:.,;|]})-"):
            known.weak += known.form < STEP
        else:
            return None
        epoch = _EPOCH.search(line)
        if epoch is not None and (named := number(epoch["e"])) is not None:
            if named < (known.epoch or 0.0):
                return None  # another rank's, still in the epoch before
            if total is not None and count <= total and named.is_integer():
                return _in_epoch(named, number(epoch["k"]), count, total, metrics)
            self._named_epoch(named)
        if known.turned and count <= known.last:  # equal: it prints only each epoch's last step
            known.base += known.last
        known.turned, known.last = False, count
        return Mark(known.base + count, None if known.base else total, metrics)

    def _named_epoch(self, epoch: float) -> None:
        known = self._known
        if known.epoch is not None and math.floor(epoch) > math.floor(known.epoch):
            known.turned = True
        known.epoch = max(epoch, known.epoch or 0.0)

    def _bar(self, match: re.Match[str], line: str) -> Mark | None:
        known = self._known
        count, total = float(match["n"]), float(match["m"])
        words = _BEFORE_BAR.sub("", line[: match.start()])
        if total < SMALLEST_TOTAL or count > total:
            return None
        if _LETTERS.search(words) and (_NOT_TRAINING.search(words) or not _TRAINING.search(words)):
            return None
        metrics = metrics_of(line[match.end() :])
        if (epoch := _EPOCH.search(words)) is not None:
            return _in_epoch(float(number(epoch["e"]) or 0.0), None, count, total, metrics)
        if known.bar_total is not None and total != known.bar_total:
            if known.bar_last < known.bar_total:
                return None
            known.bar_base = 0.0
        elif known.bar_total is not None and count <= 0.1 * total and known.bar_last >= 0.5 * total:
            known.bar_base += total
        known.bar_total, known.bar_last = total, count
        if known.epoch_line is not None:
            return _in_epoch(known.epoch_line, None, count, total, metrics)
        return Mark(known.bar_base + count, None if known.bar_base else total, metrics)

    def _epoch(self, match: re.Match[str], line: str) -> Mark | None:
        epoch = number(match["e"])
        if epoch is None or _OTHER_STEP.search(line[: match.start()][-24:]):
            return None
        self._named_epoch(epoch)
        if match["k"] and not line[: match.start()].strip():
            self._known.epoch_line = epoch
        return Mark(epoch, number(match["k"]), metrics_of(line))


def _in_epoch(epoch: float, epochs: float | None, count: float, total: float, metrics: dict[str, float]) -> Mark:
    """A position in an epoch as one growing number. Where the number of epochs is printed they are taken to
    count from 1, as nearly everybody's do who prints it."""
    if epochs is not None and epoch >= 1:
        return Mark((epoch - 1) * total + count, epochs * total, metrics)
    return Mark(epoch * total + count, None, metrics)


def _may_mark(line: bytes) -> bool:
    low = line.lower()
    if any(map(low.__contains__, _WORDS)):
        return True
    return b"/" in low and _BAR_BYTES.search(low) is not None


def _candidates(data: bytes) -> list[bytes]:
    found = [head for line in lines_of(data) if _may_mark(head := line[:LINE_BYTES])]
    if len(found) > FIRST_LINES + LAST_LINES:
        return found[:FIRST_LINES] + found[-LAST_LINES:]
    return found
