"""What common loggers print. Of the forms below only the finest that a log has shown counts: a program that prints
`iter 120` is not further because a bar of its evaluation moved. Finest first:

  STEP    `iter 120: loss 2.1`, `step 120/5000`, `global_step=120`, `Epoch: [3][ 120/500]`, `Epoch: 3 [640/60000 (1%)]`
  BAR     tqdm's and Keras's `120/500 [`, also `Epoch 3:  24%|…| 120/500 [`, and `120it [` of an unknown total
  EPOCH   `Epoch 3/10`, `'epoch': 0.05`

Guards against false markers, each with the thing that it keeps out:

- `step 2: loading data`: a STEP counts with a total of 10 or more, beside a named number, or at the end of its
  line; three of the last, weak kind are needed before bars count no more.
- `Total optimization steps = 500`, `warmup step 10`, `will stop at step 5000`, `val iter 3`: plurals, and words that
  speak of another step than the present one.
- `Loading step 3/50`, `step 7: timed out, retrying`: what is fetched or tried again is not the work.
- `2/2 [` of a download, `Map: … 9/100 [`: a BAR counts with a total of 10 or more and without a description, or
  with one that speaks of training; never with units of bytes (`1.2G/5.0G`).
- An evaluation's bar inside the training's or after it: bars of other totals are not the one being followed, unless
  that is full and the other is longer or beside numbers, or a whole round of the other went by while it stood still.
- Counters that start anew in each epoch would look like a fall: what earlier epochs had is added where the log
  names its epochs (`epoch * total + step` where a total is known), and where `Count` believes that it goes on.

Work is bounded: 4 kB of a line, 2,000 candidate lines of one look (the first 500 and the last 1,500).
"""

import math
import re

from overnight.model.codec import Struct
from overnight.ports import Mark
from overnight.probes.lines import BEYOND_NUMBERS, LINE_BYTES, lines_of, metrics_of, number, plain
from overnight.probes.markers import SMALLEST_TOTAL, Beside, Count, Found, in_trouble, may_have_bars

FIRST_LINES, LAST_LINES = 500, 1500
WEAK_STEPS = 3

EPOCH, BAR, STEP = 1, 2, 3
LEAST_EPOCHS = 3.0
IN_EPOCHS = -1.0  # instead of a bar's total: its epochs are named

_WORDS = (
    b"step",
    b"iter",
    b"train_runtime",
    b"trainer.fit",
    b"epoch",
    b"update",
    b"etry",
    b"traceback",
    b"restart",
    b"timed out",
    b"ttempt",
)
_BAR_BYTES = re.compile(rb"\d/\d{1,15}(?:\x1b\[0m)? ?[\[\xe2\x1b]|\d%\s?\||\d ?[a-z]{2,8} \[\d")

# Every repetition is bounded, so that no line can make a search slow.
_COUNT = r"\d[\d,_]{0,24}(?:\.\d{1,12})?(?:[eE]\+?\d{1,3})?"
_STEP = re.compile(
    r"(?i)(?<![\w.])(?:(?:global|train|training|opt|optimizer)[ _-])?(?:iter|iteration|step|update)[\"']?"
    rf"(?:\s{{0,4}}[:=#]\s{{0,12}}[\"']?|\s{{1,12}}|\s{{0,4}}[\[(]\s{{0,12}})(?P<n>{_COUNT})"
    rf"(?:\s{{0,4}}(?:/|of)\s{{0,12}}(?P<m>{_COUNT}))?(?![\w%]|\.\d)"
)
_OTHER_STEP = re.compile(
    r"(?i)(?:max|min|total|num|number|number of|warm-?up|every|each|per|until|till|at|from|to|of|by|best|last|final|"
    r"next|save|log|stop|after|before|since|val|valid|validation|eval|evaluation|test|predict|inference)[ _.:/-]{1,3}$"
)
_FETCHING = re.compile(
    r"(?i)\b(?:(?:down|up)?loading|fetching|waiting|retrying|retry|reconnecting|attempt)\b"
)  # before it
_RETRYING = re.compile(r"(?i)\b(?:retrying|timed out|failed)\b")  # after it
_EPOCH_BATCH = re.compile(  # PyTorch's examples, mmengine, fairseq
    rf"(?i)(?<![\w.])epoch(?:\s?\(train\))?\s{{0,4}}[:=]?\s{{0,4}}\[?\s{{0,8}}(?P<e>{_COUNT})(?:\s?/\s?(?P<k>{_COUNT}))?"
    rf"(?:[:,\]]{{1,2}}\s{{0,12}}\[?|\s{{0,4}}\[)\s{{0,12}}(?P<n>{_COUNT})\s{{0,4}}/\s{{0,12}}(?P<m>{_COUNT})"
)
_EPOCH = re.compile(
    rf"(?i)(?<![\w.])epoch[\"']?\s{{0,4}}[:=#]?\s{{0,4}}[\[(\"']?\s{{0,8}}(?P<e>{_COUNT})"
    rf"(?:\s{{0,4}}(?:/|of)\s{{0,8}}(?P<k>{_COUNT}))?(?![\w%]|\.\d)"
)
_BAR = re.compile(r"(?<![\w./:-])(?P<n>\d{1,15})/(?P<m>\d{1,15}) ?(?:\[|[━─═╸╺]{2})")
_OPEN_BAR = re.compile(r"(?<![\w./:-])(?P<n>\d{1,15}) ?(?:it|steps?|batch(?:es)?) \[\d")
_BEFORE_BAR = re.compile(r"\[[^\]]{0,40}\]|\d{1,3}%\s?\|.*")
_TRAINING = re.compile(r"(?i)train|epoch|step|iter|fit")
_NOT_TRAINING = re.compile(r"(?i)val|eval|test|predict|sanity|load|download|map|token|fetch|shard|wait|retr")
_LETTERS = re.compile(r"[^\W\d_]")
_FINISHED = re.compile(r"`Trainer\.fit` stopped: `max_|^\{'train_runtime'")  # Lightning; Transformers


class Followed(Struct):
    """What is remembered of one log between looks."""

    form: int = 0  # the finest form seen
    shown: int = 0  # the form of the newest mark
    weak: int = 0  # STEP markers that had nothing but the end of a line for them
    epoch: float | None = None  # the highest named
    epoch_line: tuple[float, float | None] | None = None  # of a line `Epoch 3/10`, under which Keras draws its bar
    in_epoch: float | None = None  # of the newest count within one
    turned: bool = False  # a higher epoch was named since the counter last spoke
    bar_total: float | None = None  # of the bar being followed; 0: it has none; IN_EPOCHS
    bar_last: float = 0.0
    bar_moved: bool = False  # since another bar was seen
    other_full: float | None = None  # total of another bar that went through while it stood still
    best: float | None = None  # of the marks on the present scale
    finished: bool = False  # the logger said that this was the last step


class KnownForms:
    """What common loggers print."""

    def __init__(self) -> None:
        self._known = Followed()
        self._steps, self._bars, self._epochs, self._whole = Count(), Count(), Count(LEAST_EPOCHS), Count()
        self._beside = Beside()

    def scan(self, data: bytes) -> Found:
        """See `Scanner`."""
        first = last = None
        anew = worked = False
        known = self._known
        for line in _candidates(data):
            text = plain(line)
            if _FINISHED.search(text) is not None:
                known.finished = True
                if last is not None:
                    last = Mark(last.step, last.step, last.metrics)
                elif known.best is not None:
                    first = last = Mark(known.best, known.best)
                continue
            found = self._read(text)
            if found is None:
                if in_trouble(line):
                    for count in (self._steps, self._bars, self._epochs, self._whole):
                        count.trouble()
                worked = self._beside.see(text) or worked
                continue
            form, mark, other = found
            if known.finished and known.best is not None and mark.step < known.best:
                known.finished, other = False, True  # the next stage of the program
            if form != known.shown or other:  # a finer form than before, or another bar: its series begins here
                anew = anew or known.shown > 0
                first, known.shown, known.best = None, form, None
            last = mark
            if first is None and (form != BAR or mark.step > 0):  # an empty bar is no step, also where it goes on
                first = mark
            if known.best is None or mark.step > known.best:
                known.best = mark.step
                self._beside.marked()
        return Found(first, last, anew and last is not None, worked)

    def _read(self, line: str) -> tuple[int, Mark, bool] | None:
        """(form, mark, whether another bar is followed from here)."""
        known, other = self._known, False
        mark: Mark | None
        if (match := _EPOCH_BATCH.search(line)) is not None:
            mark, form = self._epoch_batch(match, line), STEP
        elif (match := _STEP.search(line)) is not None and (mark := self._step(match, line)) is not None:
            form = STEP
        elif (match := _BAR.search(line) or _OPEN_BAR.search(line)) is not None:
            before = known.bar_total
            mark, form = self._bar(match, line), BAR
            other = before is not None and before != known.bar_total
        elif (match := _EPOCH.search(line)) is not None:
            mark, form = self._epoch(match, line), EPOCH
        else:
            return None
        if mark is None or form < known.form:
            return None
        if form < STEP or known.weak == 0 or known.weak >= WEAK_STEPS:
            known.form = form
        return form, mark, other

    def _epoch_batch(self, match: re.Match[str], line: str) -> Mark | None:
        epoch, count, total = number(match["e"]), number(match["n"]), number(match["m"])
        if epoch is None or count is None or not total or _NOT_TRAINING.search(line, 0, match.start()):
            return None
        self._known.weak = 0
        return self._in_epoch(epoch, number(match["k"]), count, total, metrics_of(line))

    def _step(self, match: re.Match[str], line: str) -> Mark | None:
        known = self._known
        count, total = number(match["n"]), number(match["m"])
        before = line[: match.start()]
        if count is None or _OTHER_STEP.search(before[-24:]) or _FETCHING.search(before):
            return None
        if _RETRYING.search(line, match.end()):
            return None
        metrics = metrics_of(line)
        strong = bool(metrics) or BEYOND_NUMBERS.search(line) is not None
        if strong or (total or 0) >= SMALLEST_TOTAL:
            known.weak = 0 if known.weak < WEAK_STEPS else known.weak
        elif not line[match.end() :].strip(" \t:.,;|]})-"):
            known.weak += known.form < STEP
        else:
            return None
        epoch = _EPOCH.search(line)
        if epoch is not None and (named := number(epoch["e"])) is not None:
            behind = (known.epoch or 0.0) - named
            if 0 < behind <= 1:
                return None  # another rank's, still in the epoch before
            if behind > 1:  # the next stage or fold, if it is no restart
                known.epoch, known.turned = named, False
                if self._steps.troubled:
                    self._steps.restart()
                else:
                    self._steps.next_round()
            if total is not None and count <= total and named.is_integer():
                return self._in_epoch(named, number(epoch["k"]), count, total, metrics)
            self._named_epoch(named)
        step = self._steps.take(count, known.turned, strong)
        known.turned = False
        return Mark(step, None if self._steps.base else total, metrics)

    def _named_epoch(self, epoch: float) -> None:
        known = self._known
        if known.epoch is not None and math.floor(epoch) > math.floor(known.epoch):
            known.turned = True
        known.epoch = max(epoch, known.epoch or 0.0)

    def _bar(self, match: re.Match[str], line: str) -> Mark | None:
        known = self._known
        groups = match.groupdict()
        count, total = float(match["n"]), float(groups.get("m") or 0)
        words = _BEFORE_BAR.sub("", line[: match.start()])
        if _LETTERS.search(words) and (_NOT_TRAINING.search(words) or not _TRAINING.search(words)):
            return None
        metrics = metrics_of(line[match.end() :])
        if total and count <= total and (epoch := _EPOCH.search(words)) is not None:
            known.bar_moved, known.bar_total = True, IN_EPOCHS
            return self._in_epoch(number(epoch["e"]) or 0.0, number(epoch["k"]), count, total, metrics)
        if (total and total < SMALLEST_TOTAL) or count > (total or count):
            return None
        if not self._follows(count, total, bool(metrics)):
            return None
        known.bar_moved = known.bar_moved or count > known.bar_last
        known.bar_last = count
        if known.epoch_line is not None and total:
            return self._in_epoch(*known.epoch_line, count, total, metrics)
        step = self._bars.take(count)
        return Mark(step, None if self._bars.base else total or None, metrics)

    def _follows(self, count: float, total: float, measured: bool) -> bool:
        """Whether this bar is the one to be followed. Another takes its place when it is full (a longer one, or one
        beside numbers: the first prepared the data), or stands still while the other goes through and begins again."""
        known = self._known
        if known.bar_total is None or total == known.bar_total:
            known.bar_total = total
            return True
        full = 0 < known.bar_total <= known.bar_last and (measured or total > known.bar_total)
        again = known.other_full == total and not known.bar_moved and count < 0.5 * total
        if full or again:
            known.bar_total, known.bar_last, known.other_full = total, 0.0, None
            self._bars = Count()
            return True
        if known.bar_moved:
            known.bar_moved, known.other_full = False, None
        if total and count == total:
            known.other_full = total
        return False

    def _epoch(self, match: re.Match[str], line: str) -> Mark | None:
        epoch = number(match["e"])
        if epoch is None or _OTHER_STEP.search(line[: match.start()][-24:]):
            return None
        self._named_epoch(epoch)
        if match["k"] and not line[: match.start()].strip():
            self._known.epoch_line = (epoch, number(match["k"]))
        step = self._epochs.take(epoch)
        return Mark(step, None if self._epochs.base else number(match["k"]), metrics_of(line))

    def _in_epoch(
        self, epoch: float, epochs: float | None, count: float, total: float, metrics: dict[str, float]
    ) -> Mark:
        """A position in an epoch as one growing number. Where the number of epochs is printed they are taken to
        count from 1, as nearly everybody's do who prints it."""
        known = epochs is not None and epoch >= 1
        value, whole = (epoch - known) * total + count, self._whole
        # A bar that is cleared for its next epoch is drawn at 0 once more under the old name.
        cleared = count == 0 and value < whole.last and epoch == self._known.in_epoch
        step = whole.base + whole.last if cleared else whole.take(value)
        self._known.in_epoch = epoch
        return Mark(step, epochs * total if known and epochs is not None and not self._whole.base else None, metrics)


def _candidates(data: bytes) -> list[bytes]:
    """The lines that may tell something. Nearly all of a log's lines do not, so what none of them has is not looked for
    in each."""
    low = data.lower()
    words = [word for word in _WORDS if word in low]
    bars = may_have_bars(low)
    if not words and not bars:
        return []
    found = []
    for line in lines_of(data):
        head = line[:LINE_BYTES]
        low = head.lower()
        if any(map(low.__contains__, words)) or (bars and may_have_bars(low) and _BAR_BYTES.search(low) is not None):
            found.append(head)
    if len(found) > FIRST_LINES + LAST_LINES:
        return found[:FIRST_LINES] + found[-LAST_LINES:]
    return found
