"""Single lines: taking off what launchers, loggers and terminals put around them; progress in them."""

import json
import re
from typing import NamedTuple

LINE_BYTES = 4096  # of a longer line only this much around a hit is looked at

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|\x00")

# What stands before the program's own words. Tried again and again until none fits.
_PREFIXES = re.compile(
    r"""
    \s{0,3}\[(?:rank|default|worker|node|gpu|GPU|RANK)[ _-]?(?P<rank>\d+)\]:?[ ]?  # torch [rank3]:, tee [default0]:
  | \[(?P<rank2>\d+)\]:[ ]?                                                       # [0]:
  | [ ]{0,3}(?P<rank3>\d{1,5}):[ ]                                                # srun --label, padded
  | (?P<rank9>\d{1,5}):(?=\s{2,}|Traceback|[A-Z]\w+(?:Error|Exception))           # the same, narrow
  | \[\d+,(?P<rank4>\d+)\]<std(?:err|out)>:[ ]?                                   # mpirun --tag-output
  | (?:[A-Z][a-z]{2}[ ]){2}[ ]?\d{1,2}[ ]\d\d:\d\d:\d\d[ ]\d{4}\[(?P<rank8>\d+)\]<std(?:err|out)>:[ ]?    # horovodrun
  | (?i:rank|worker|gpu|proc(?:ess)?|trainer|task|[rwt])[ _-]?(?P<rank11>\d{1,5})(?::|[ ]?[|>])[ ]
  | \[(?i:trainer|proc(?:ess)?|actor|task|cuda|device|learner|replica|pod)[ _:-]?(?P<rank13>\d{1,5})\]:?[ ]
  | \d{1,3}(?:\.\d{1,3}){3}[ ]\[(?P<rank10>\d+)\][ ]                              # TPU pods
  | \[\d+,mpirank:(?P<rank7>\d+)[^\]]{0,40}\]<std(?:err|out)>:[ ]?                       # SageMaker
  | \d{1,9}\.\d+s\t\d+\t                                                              # Kaggle
  | [A-Z][a-z]{2}[ ]{1,2}\d{1,2}[ ]\d\d:\d\d:\d\d[ ]\S{1,60}[ ]\S{1,60}\[\d+\]:[ ]         # the journal
  | \((?P<rank5>(?:[\w.:<>-]+[ ])?pid=\d+(?:,[ ]ip=[\d.]+)?)\)[ ]?                # Ray
  | (?P<rank6>[\w-]{1,40}-(?:worker|master|launcher)-\d+)[:|][ ]                  # pods
  | \[pod/[\w./-]{1,200}\][ ]                                                           # kubectl logs --prefix
  | [A-Z][a-z]{2}[ ]{1,2}\d{1,2}[ ]\d\d:\d\d:\d\d[ ]                                       # ts
  | \d\d:\d\d:\d\d(?:[.,]\d{1,9})?[ ]                                              # a clock alone
  | (?P<rank14>[\w.-]{1,60}-\d{1,3})[ ]{1,20}\|[ ]                                      # docker compose
  | \S{1,60}[ ]\|[ ](?=\S)                                                        # docker compose
  | \d{4}-\d\d-\d\dT[\d:.]{8,18}(?:Z|[+-]\d\d:?\d\d)?[ ](?:std(?:err|out)[ ][FP][ ])?  # containers
  | \[?\d{4}[-/]\d\d[-/]\d\d[ T_]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[ ]?[+-]\d\d:?\d\d)?[\]:,]?(?:[ ]-(?=[ ]))?[ ]
  | \[\d\d:\d\d:\d\d(?:[.,]\d+)?\]:?[ ]
  | (?![^\[]{0,80}(?i:warn))[^\[\]]{1,80}?(?=\[(?:rank|default)\d{1,5}\]:)       # a host or a logger before it
  | [\w.-]{1,40}[ ]>>[ ]                                                          # pods of some platforms
  | (?!python|step|iter|epoch|bash|[\w.]{1,120}(?:Error|Exception|Warning):)
    (?P<rank12>[a-z][a-z-]{0,30}\d{1,4}(?:\.[\w.-]{1,40})?|\d{1,3}(?:\.\d{1,3}){3}):[ ](?=[ ]|\S) # pdsh: the host
  | \[1?\d{0,2}[/-]\d\d[/-]\d\d[ ]\d\d:\d\d:\d\d(?:[.,]\d+)?\][ ]
  | [IWEF]\d{4}[ ]\d\d:\d\d:\d\d\.\d{3,9}[ ]+\d+[ ]\S{1,120}?:\d+\][ ]?(?:\[[^\]]{1,60}\][ ])?   # glog
    """,
    re.VERBOSE,
)

_JSON_LOG = re.compile(r'\{"log": ?("(?:[^"\\]|\\.)*")')


class Line(NamedTuple):
    """A line's own words, and whose it is ("" when nobody is named)."""

    text: str
    rank: str


def clean(raw: bytes) -> Line:
    """Undo colours, NULs, invalid UTF-8, timestamps and rank prefixes; keeps the indentation."""
    text = raw.decode("utf-8", "replace")
    if text.startswith('{"log":'):
        text = _unwrapped(text)
    if "\x1b" in text or "\x00" in text:
        text = _ANSI.sub("", text)
    rank, torch = "", False
    for _ in range(5):
        match = _PREFIXES.match(text)
        if match is None or not match.end():
            break
        if match.lastgroup and (not rank or match.lastgroup == "rank" or (match.lastgroup == "rank5" and not torch)):
            # Torch's own word tells most; a launcher that put its own before Ray's knows less.
            rank, torch = match[match.lastgroup], match.lastgroup == "rank"
        text = text[match.end() :]
    return Line(text.rstrip(), rank)


def _unwrapped(text: str) -> str:
    """The line that a container's log file keeps as JSON."""
    found = _JSON_LOG.match(text)
    try:
        return str(json.loads(found[1])).rstrip("\n") if found else text
    except ValueError:
        return text


def without_first_prefix(text: str) -> str:
    """What stands behind the outermost thing that `clean` takes off."""
    if text.startswith('{"log":'):
        return _unwrapped(text)
    match = _PREFIXES.match(text)
    return text[match.end() :] if match else text


# Numbers that grow while a program works. One alternative per kind, so that kinds are compared with themselves.
PROGRESS = re.compile(
    rb"(?i)(?:^|[^\w/.-])(?:"
    rb"(?:global[_ ]?step|step|iter(?:ation|s)?|it|update|batch|samples?|tokens?)s?"
    rb"[\"']?[ \t]{0,3}[:=#\[]?[ \t]{0,6}(\d{1,12})(?![\w.]*[a-z])"
    rb"|epoch[\"']?[ \t]{0,3}[:=#\[]?[ \t]{0,3}(\d{1,6}(?:\.\d{1,6})?)"
    rb"|trial[ \t#]{1,3}(\d{1,6}) (?:finished|complete)"
    rb"|(\d{1,9})/\d{1,9} {0,3}\[[^\]\n]{0,60}(?:it/s|s/it|[<,])"
    rb")"
)

_FINISHED = (
    r"(?i)\b(?:training|run|job|experiment|pretraining|fine-?tuning|fit|sweep|all)\b.{0,24}"
    r"(?<!to )\b(?:complete[d]?|finished|done|succeeded|ended (?:normally|successfully))\b"
    r"|`Trainer\.fit` stopped: `max_|train_runtime|\bfinal (?:loss|metrics|val|test|eval|acc|score)"
)
_FINISH = re.compile(_FINISHED)
_COMPLETED = re.compile(
    _FINISHED + r"|\bevaluation\b.{0,24}\b(?:complete[d]?|finished|done|succeeded)\b"
    r"|^\W{0,4}(?:all )?(?:done|finished|completed?|success(?:fully)?|bye)\b.{0,40}$"
    r"|\b(?:finished|completed) (?:training|successfully|in \d|all|after|run)"
    r"|successfully (?:completed|finished|ended|saved|uploaded|exited)|\bended successfully"
    r"|(?:saved|saving|wrote|written|uploaded|exported)\b.{0,40}\b(?:checkpoint|model|weights|results|metrics|summary)"
    r"|(?:checkpoint|model|weights|results|metrics|summary)\b.{0,60}\b(?:saved|written|stored|uploaded|exported)"
    r"|\b(?:written|saved|exported|uploaded) to\b"
    r"|\bPASSED\b"
    r"|exit(?:ing|ed)? (?:with )?(?:code|status)? ?0\b|reached (?:max|maximum) steps"
    r"|best (?:val|model|metric|acc|score)|final (?:loss|metrics|val|test|eval|acc|score)"
)


_TIMED = re.compile(r"(?i)total (?:training )?time")  # some say it also on their way out of a failure


def shows_completion(text: str, *, died: bool = False) -> bool:
    """Whether the line is what a program prints when it has done its work; `died`: one with an exception."""
    return _COMPLETED.search(text) is not None or (not died and _TIMED.search(text) is not None)


def says_finished(text: str) -> bool:
    """Whether the line says that the whole of it is over, not only a part."""
    return _FINISH.search(text) is not None


# A program that says this went on.
SURVIVED = re.compile(
    r"(?i)\bretry(?:ing)?\b(?! (?:limit|count|budget)s? (?:exceeded|exhausted|reached))"
    r"|\bre-?attempt|\bre-?connect(?:ing|ed)\b|will (?:try|be (?:ignored|retried|skipped))|try(?:ing)? again in"
    r"|\bignor(?:e|ed|ing)\b|\bskipp(?:ed|ing)\b|\bfall(?:ing|s)? ?back\b|\bfallback\b|not a failure|non-?fatal"
    r"|\brecover(?:ed|ing)\b|\bcontinuing\b|harmless|handled gracefully|best[- ]effort|\bsucceeded (?:on|after)\b"
    r"|attempt \d+ ?(?:/|of) ?\d+|some run data (?:will|may) not be synced|proceeding (?:without|anyway)|\bdisabling\b"
    r"|proceeding with \w+(?: \w+){0,2} anyway"
    r"|thrown while requesting (?:HEAD|GET|PUT|POST)\b"  # what the hub's client says of each attempt
    r"|instead of failing|using cached|(?:halving|reducing|decreasing|lowering) (?:the )?batch"
)

# … and one that says this did not, whatever else stands in the line.
GAVE_UP = re.compile(
    r"(?i)\bgiv(?:ing|en) up\b|\bgave up\b|no more (?:retries|attempts)|out of retries"
    r"|(?:retries|attempts|retry|budget) (?:were |was )?(?:exhausted|exceeded|failed)"
    r"|exhausted (?:all |its )?(?:retries|attempts)"
    r"|\battempt (?P<last>\d{1,4}) ?(?:/|of) ?(?P=last)\b|after \d+ (?:retries|attempts|tries)|final attempt"
    r"|timed out (?:while|after) retrying"
)

# A level below error in front of the words. NCCL knows no level above WARN.
MILD = re.compile(
    r"^(?!.{0,80}NCCL WARN).{0,70}?(?:\b(?:WARN|WARNING|INFO|DEBUG|NOTICE)\b|\b(?:[Ww]arning|info|debug)\b[\]:|])"
    r"|^\[?[WI]\d{0,4}[ \]]|^\[[WI] |^\s*warnings\.warn\(|^(?:/|[\w.]+/).{1,240}?:\d+: \w*Warning: "
)
