"""What the name of a checkpoint tells: the step that it was saved at."""

import re

_STEP = re.compile(r"(?i)(?:step|iter(?:ation)?|update|it)s?[-_=]?(\d{1,18})")
_EPOCH = re.compile(r"(?i)(?:epoch|ep)[-_=]?(\d{1,18})")
_NUMBER = re.compile(r"(?<![\d.])(\d{1,18})(?![\d.]*\d)")
_NAMED_FOLDER = re.compile(r"(?i)(?:checkpoint|ckpt|step|iter|epoch)[-_=]?\d")


def step_of(path: str) -> float | None:
    """That of a path: of its last part, else of a folder above it that is called like a checkpoint. None: it tells
    none."""
    *above, name = path.rstrip("/").split("/")
    number = number_in(name)
    return number_in(above[-1]) if number is None and above and _NAMED_FOLDER.search(above[-1]) else number


def number_in(name: str) -> float | None:
    """The number after `step` or `iter`, else after `epoch`, else the last whole number: `val_loss=0.23` is none."""
    stem, _, suffix = name.rpartition(".")
    if not stem:
        stem = name
    elif suffix.isdigit():  # `model.500` tells its step there
        stem = name.replace(".", "_")
    for form in (_STEP, _EPOCH, _NUMBER):
        if numbers := form.findall(stem):
            return float(numbers[-1])
    return None
