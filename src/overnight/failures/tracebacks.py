"""Python tracebacks in a log: where they end, with which exception, and which belong together."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest

from overnight.failures.margins import own_words, without_outermost
from overnight.failures.scan import Event
from overnight.failures.source import Source

_WINDOW_BYTES = 64 << 10
_MESSAGE_LINES = 9
_LOOK_BYTES = 4000
_BARE_LINES = 12  # after a header without one frame: the words were quoted, or ranks are mixed beyond repair

_MARGIN_CHARS = 160
_TIME = re.compile(r"\d+(?:(?:\\?[-:.,/T])\d+)+")  # also escaped
_TOLD, _INDENT = re.compile(r" *traceback *: "), re.compile("  ")  # in torchelastic's table of failures
_GLUED_RANK = re.compile(r"\[rank(\d+)\]:? ?$")

_HEAD = "Traceback (most recent call last)"
_CHAIN = re.compile(
    r"During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception"
)
# The exception that only carries another one: the next traceback is its inside.
_WRAPPER = re.compile(
    r"Caught \w+ in (?:DataLoader worker|pin memory|replica)|ProcessRaisedException|CheckpointException ranks:"
    r"|-- Process \d+ terminated with the following error|[Tt]he last \d+ lines of"
    r"|failed during processing with trace:"
)
_STACK, _SUMMARY = "C++ Traceback (most", "Error Message Summary"  # what Paddle's exceptions have for a message
_STACK_LINES = 200
_EXCEPTION = re.compile(r"(?P<type>[A-Za-z_]\w*(?:\.\w+|\.<locals>)*(?:\([\w.]+\))?)(?:: ?(?P<message>.*))?$")
_NOT_EXCEPTION = re.compile(r"^(?:INFO|WARNING|ERROR|DEBUG|CRITICAL|FATAL|File|The|During|Original|wandb(?!\.)|srun)\b")
# A line that is no continuation of an exception's message.
_NEWS = re.compile(
    r"^(?:srun|slurmstepd|wandb|INFO|WARNING|ERROR|CRITICAL|DEBUG|terminate called|Fatal Python|Killed"
    r"|\*{5}|-{8}|={8}|\[[EWIF]\d{0,4} |Exception (?:in thread|ignored)|Root Cause|mpirun|prterun"
    r"|Error in sys|[EWI]\d{4} |(?:\[ *\d+\.\d+\] )?(?:NVRM|kernel|amdgpu)\b)"
    r"|^\[?\d{4}[-/]\d\d[-/]\d\d[ T]|^\[rank\d+\]:\[|^\S+:\d+:\d+ \[\d+\] "
)
_CALLS = ("Exception raised from ", "frame #")  # of C++, below a message
_THREADS = re.compile(r"\[[EWIF]\d{0,4} ")  # what torch's own threads log, with their rank before it
_RULED = re.compile(r"^[*=-]{5,}$")  # some put a line of these above their message
_BOX = "│╭╰┃┏┗❱┌└"
# What stands before a traceback that ends nothing: printed by the interpreter, or by a logger.
_IGNORED = re.compile(
    r"Exception ignored in|--- Logging error ---|exception was never retrieved|Exception in callback"
    r"|Exception in thread QueueFeederThread|Error in atexit|Error in sys\.excepthook|Exception ignored on"
)
# A line that says that what follows was dealt with. The level of the line before is not enough: most programs'
# last words before they die are at INFO, or a `warnings.warn(`.
_LOGGED_MILD = re.compile(
    r"(?i)\bwarn(?:ing)?\b(?<!warnings\.warn)|retry|skipp|ignor|fall(?:ing)? ?back|could not|unable to|continuing"
    r"|\b(?:debug|info)\b.{0,200}\b(?:fail(?:ed|ure)?|error|exception)\b"
)
_LOGGED = re.compile(r"(?i)^.{0,120}\b(?:error|exception|critical)\b")
_RETRIED = re.compile(
    r"(?i)\b(?:retrying|will retry|trying again|try again in|reconnecting|falling back|skipping"
    r"|attempt \d+ ?(?:/|of))\b"
)
_THREAD = re.compile(r"Exception in thread ")
_STRING_END = re.compile(r'(?<!\\)"')
# The outermost frame of what nobody caught. In a cell or a `-c`, a handler may well stand there too.
_PROGRAM = re.compile(r'\s*File "(?!<(?:stdin|string|ipython)).{1,300}", line \d+, in (?:<module>|_run_module_as_main)')

# torch's hook for what nobody caught puts the rank before every line; a logger would before the first one only.
_HOOKED = re.compile(rb"(?:[^\n]{0,200}\[rank\d+\]: +(?:Traceback|File \"|\S)[^\n]*\n){2}")


@dataclass(slots=True, eq=False)
class Traceback:
    """One block from its header to the end of its exception's message."""

    offset: int
    exception_at: int  # offset of the exception's line; -1: the block is cut off
    exception_end: int
    end: int
    kind: str  # the exception's type as printed
    message: str
    rank: str
    before: str  # the line before the header
    chained: bool = False  # the next traceback of the log belongs to this failure
    retried: bool = False  # the lines below it say that it was tried again
    hooked: bool = False  # printed by what a rank's process does with an exception that nobody caught
    labelled: bool = False  # its rank stands before every line of its own
    first_frame: str = ""
    inline: list[str] = field(default_factory=list)  # told within one line (JSON): its exceptions' lines
    events: list[Event] = field(default_factory=list)

    @property
    def ignored(self) -> bool:
        """Python said itself that nothing came of it."""
        return _IGNORED.search(self.before) is not None

    @property
    def logged(self) -> bool:
        """A logger printed it, so that the program may have gone on."""
        return _LOGGED.match(self.before) is not None and not self.before.startswith("Error executing job")

    @property
    def mild(self) -> bool:
        """A logger printed it below the level of an error, or said what it does instead."""
        return _LOGGED_MILD.search(self.before) is not None and "Error executing job" not in self.before

    @property
    def of_program(self) -> bool:
        """It begins with the program itself: nothing between caught it, so that it ended the program."""
        return self.hooked or _PROGRAM.match(self.first_frame) is not None

    @property
    def of_thread(self) -> bool:
        """It ended a thread, not the process."""
        return _THREAD.search(self.before) is not None


def parse(source: Source, offset: int) -> Traceback:
    """Read the traceback whose header's line begins at `offset`. Lines of other ranks between its own are skipped."""
    raw = source.read_at(offset, _WINDOW_BYTES)
    at = _end_of_line(raw, 0) + 1
    head = own_words(source, raw[: at - 1])
    before = head.text.partition(_HEAD)[0]
    rank = head.rank or _rank_in(before)
    parsed = Traceback(offset, -1, offset, offset + at - 1, "", "", rank, _line_before(source, offset))
    if "\\n" in head.text.partition(_HEAD)[2]:
        return _within_one_line(parsed, head.text)
    parsed.hooked = _HOOKED.match(raw) is not None
    parsed.labelled = bool(rank) and _first_frame_is_of(source, rank, raw[at : at + _LOOK_BYTES])
    margin = _margin(source, before, raw[at:])
    usual = [
        all(pair) for pair in zip(*(_news(source, line) for line in raw[: at + 500].split(b"\n")[:2]), strict=False)
    ]
    frames: list[str] = []
    framed, after, bare, bares, outer = False, 0, 0, False, -1
    closed = False  # a box around the frames
    stack = False  # within a stack that the message quotes
    while at < len(raw):
        stop = _end_of_line(raw, at)
        line = own_words(source, raw[at:stop])
        text, here = line.text, at
        at = stop + 1
        if line.rank and line.rank != rank:
            continue
        if parsed.labelled and (not line.rank or (parsed.hooked and _THREADS.match(text))):
            continue
        if margin is not None:
            found = margin.match(text)
            if found is None and before.strip() and parsed.exception_at < 0:
                continue  # another logger's line
            if found is None and before.strip() and text:
                break
            text = text[found.end() :] if found else text
        if closed and parsed.exception_at < 0:
            text = text.strip()  # below a box the exception stands where the box began
        closed = closed or text.lstrip().startswith("╰")
        bared = bares  # a line of source below a place that lost its indentation
        bares = text.startswith('File "')
        if _is_frame(text) or (bared and parsed.exception_at < 0):
            framed = True
            if parsed.exception_at >= 0 and text.lstrip().startswith('File "') and after <= 2:
                # RayTaskError and its like: an exception line, then frames of the inside, then its exception.
                outer, parsed.exception_at = parsed.exception_at, -1
            if parsed.exception_at < 0:
                frames.append(text)
                continue
        if parsed.exception_at < 0:
            bare += not framed
            if bare > _BARE_LINES:
                break
            match = _EXCEPTION.match(text)
            if (
                match
                and _is_exception(text, match["type"])
                and (framed or match["message"] is not None or _typed(text))
            ):
                parsed.exception_at, parsed.exception_end = offset + here, offset + stop
                parsed.kind, parsed.message = match["type"], (match["message"] or "").strip()
                parsed.end, after = offset + stop, 0
                parsed.chained = _WRAPPER.search(text) is not None
            elif text.startswith(_HEAD) and not rank:
                continue
            elif framed and text and not _is_frame(text) and len(frames) > 400:
                break
            continue
        if text.startswith(_CALLS):
            continue
        after += 1
        stack = (stack or (_STACK in text and not parsed.message)) and after < _STACK_LINES
        if stack:
            if _SUMMARY in text:
                stack, after = False, 0
            continue
        if _CHAIN.search(text) or _WRAPPER.search(text):
            parsed.chained = True
        if (
            after > _MESSAGE_LINES
            or _HEAD in text
            or (not (_RULED.match(text) and not parsed.message) and _NEWS.match(text))
            or any(news and not told for news, told in zip_longest(_news(source, raw[here:stop]), usual))
        ):
            break
        if not parsed.message and text.strip() and not _RULED.match(text) and not parsed.chained:
            parsed.message = text.strip()
        if text:
            parsed.end = offset + stop
    if parsed.exception_at < 0:  # frames of the user's code, told as part of a message
        parsed.exception_at = outer
    parsed.retried = _RETRIED.search(_after(source, parsed.exception_end)) is not None
    parsed.first_frame = next((frame for frame in frames if frame.strip()), "")
    return parsed


def _first_frame_is_of(source: Source, rank: str, below: bytes) -> bool:
    """Whether the first place of the code below a header bears the header's rank: then all its lines do."""
    lines = (own_words(source, line) for line in below.split(b"\n"))
    frames = (line.rank for line in lines if line.text.startswith('  File "'))
    first = next(frames, None)
    return first == rank or (bool(first) and rank in frames)


def _news(source: Source, line: bytes) -> list[bool]:
    """Whether it begins as a logger's line does, with all that stands before its own words, without the first of it, …
    What is so of a header and the line below it is so of every line, and tells nothing."""
    words = line[:4000].decode("latin-1")
    found = []
    for _ in range(4):
        rest = without_outermost(source, words)
        if rest == words:
            break
        found.append(_NEWS.match(words) is not None)
        words = rest
    return found


def _rank_in(before: str) -> str:
    """The rank in front of a header that stands behind a progress bar, on the bar's line."""
    found = _GLUED_RANK.search(before)
    return found[1] if found else ""


def _margin(source: Source, before: str, below: bytes) -> re.Pattern[str] | None:
    """What a logger or a quotation puts before the header and before the lines below it too; None: nothing."""
    if not before or len(before) > _MARGIN_CHARS:
        return None
    if _TOLD.fullmatch(before):
        return _INDENT
    words = before.rstrip()
    margin = re.compile(_TIME.sub(r"[\\d:.,/\\-T]+", re.escape(words)) + "[ ]?" if words else before)
    lines = [own_words(source, line).text for line in below[:2000].split(b"\n")[:3]]
    return margin if any(margin.match(line) for line in lines) else None


def _within_one_line(parsed: Traceback, text: str) -> Traceback:
    """A traceback whose newlines are escaped, as in logs of JSON lines."""
    parsed.before, _, told = text.partition(_HEAD)
    told = _STRING_END.split(told, maxsplit=1)[0]
    for part in told.replace('\\"', '"').split("\\n")[1:]:
        if not part.strip() or _is_frame(part):
            parsed.first_frame = parsed.first_frame or part.strip()
            continue
        match = _EXCEPTION.match(part)
        if match and not _NOT_EXCEPTION.match(part) and _typed(part):
            parsed.kind, parsed.message = match["type"], (match["message"] or "").strip()
            parsed.exception_at, parsed.exception_end = parsed.offset, parsed.end
        parsed.inline.append(part)
    return parsed


def _after(source: Source, offset: int) -> str:
    """The two lines below the block."""
    lines = [own_words(source, line).text for line in source.read_at(offset, 1000).split(b"\n")[1:] if line.strip()]
    return "\n".join(lines[:2])


def _is_exception(text: str, kind: str) -> bool:
    """Programs that speak below a traceback have names of small letters, and no module before them."""
    named = "." in kind or kind != kind.lower() or kind in ("error", "timeout")
    return named and not _NOT_EXCEPTION.match(text)


def _typed(text: str) -> bool:
    return bool(re.match(r"[\w.]*(?:Error|Exception|Interrupt|Exit)\b", text))


def _is_frame(text: str) -> bool:
    stripped = text.lstrip()
    return (
        not stripped
        or text[0] in " \t"
        or stripped[0] in _BOX
        or stripped.startswith(("^^", "~~", "[Previous line", 'File "'))
    )


def _end_of_line(raw: bytes, at: int) -> int:
    newline = raw.find(b"\n", at)
    return newline if newline >= 0 else len(raw)


def _line_before(source: Source, offset: int) -> str:
    """The last two lines with anything in them before the header."""
    low = max(0, offset - 1500)
    lines = source.read_at(low, offset - low).split(b"\n")
    words = [own_words(source, line).text for line in lines if line.strip()]
    return words[-1][-400:] if words else ""


def chains(tracebacks: list[Traceback]) -> list[list[Traceback]]:
    """Tracebacks in groups: each group is one failure told in several blocks."""
    groups: list[list[Traceback]] = []
    latest: dict[str, list[Traceback]] = {}  # by rank: those of others may stand between the parts of one failure
    for block in tracebacks:
        group = latest.get(block.rank)
        if group and group[-1].chained and block.offset <= group[-1].end + 8192:
            group.append(block)
        else:
            latest[block.rank] = [block]
            groups.append(latest[block.rank])
    return groups
