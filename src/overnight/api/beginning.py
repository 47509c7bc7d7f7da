"""A first campaign file, by looking at a folder: which script trains, which file holds rows, what it logs."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from overnight.api.errors import NotFound, Refused
from overnight.model.codec import Struct

FILE = "overnight.toml"
_SCRIPTS = ("train.py", "main.py", "run.py", "finetune.py", "pretrain.py", "train.sh", "run.sh")
_OUT = re.compile(
    r"""["'](--(?:out(?:put)?(?:[-_]?(?:dir|path|folder))?|(?:save|work|results?|exp|log)[-_]?(?:dir|path|folder)))["']"""
)
_LOOK_BYTES = 256 * 1024
_ROWS_LOOKED_AT = 50


class Begun(Struct, frozen=True):
    """The file that was written, and what it is founded on."""

    file: Path
    command: list[str]
    runs: str | None
    found: tuple[str, ...]


def begin(folder: Path) -> Begun:
    """Write `overnight.toml` into `folder`. Raises `Refused` if there is one, `NotFound` without a folder."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "name one that exists")
    file = folder / FILE
    script = _script(folder)
    rows, columns = _rows(folder)
    command = _command(script, columns)
    found = (
        f"command: {script.name} looks like what trains"
        if script is not None
        else "command: no script found; write yours",
        f"rows: {rows}, with the columns {', '.join(columns)}" if rows else "rows: no CSV found; a matrix to fill in",
        *_launcher(script),
    )
    text = _text(folder.resolve().name, command, rows, _checkpoint(script))
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise Refused(f"{file} is there already", "edit it, or remove it first") from None
    except OSError as problem:
        file.unlink(missing_ok=True)  # half of it would be read, and keep the next try from writing
        raise Refused(f"{file} cannot be written: {problem.strerror}", "choose another folder") from problem
    return Begun(file, command, rows, found)


def _script(folder: Path) -> Path | None:
    for name in _SCRIPTS:
        if (folder / name).is_file():
            return folder / name
    trains = sorted(path for path in folder.glob("*.py") if "train" in path.name)
    return trains[0] if trains else None


def _rows(folder: Path) -> tuple[str | None, list[str]]:
    """The CSV that looks most like a sweep: one with a `run_id` column, else the first that has a header."""
    candidates: list[tuple[bool, str, list[str]]] = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("sweeps/*.csv")])[:_ROWS_LOOKED_AT]:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                header = next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        if header and all(re.fullmatch(r"@?[A-Za-z_][\w.]*", column) for column in header):
            candidates.append(("run_id" not in header, path.relative_to(folder).as_posix(), header))
    if not candidates:
        return None, []
    _, name, header = min(candidates, key=lambda found: found[0])
    return name, header


def _command(script: Path | None, columns: Sequence[str]) -> list[str]:
    python = "python" if shutil.which("python") else "python3"  # Debian has the second alone
    if script is None:
        return [python, "train.py", "--seed", "{seed}", "--out-dir", "{out_dir}"]
    start = ["bash", script.name] if script.suffix == ".sh" else [python, script.name]
    source = _source(script)
    equals = "sys.argv" in source and "argparse" not in source  # key=value in the manner of nanoGPT and Hydra
    equals = equals or "hydra" in source or "OmegaConf" in source
    words = [column for column in columns or ["seed"] if not column.startswith("@")]
    words = [column for column in words if column not in {"run_id", "notes", "note", "comment"}]
    arguments = []
    for column in words:
        if column in {"overrides", "args", "extra"}:
            arguments.append(f"{{{column}...}}")
        elif column == "config":
            arguments.insert(0, "{config}")
        else:
            arguments += [f"{column}={{{column}}}"] if equals else [_option(column, source), f"{{{column}}}"]
    out = ["out_dir={out_dir}"] if equals else [_out_option(source), "{out_dir}"]
    return [*start, *arguments, *out]


def _option(column: str, source: str) -> str:
    """As the script spells it: argparse takes `--batch_size` and `--batch-size` for two."""
    return f"--{column}" if f'"--{column}"' in source.replace("'", '"') else f"--{column.replace('_', '-')}"


def _out_option(source: str) -> str:
    """What the script calls the folder of its results."""
    found = _OUT.search(source)
    return found.group(1) if found else "--out-dir"


def _launcher(script: Path | None) -> tuple[str, ...]:
    if script is not None and re.search(r"init_process_group|DistributedDataParallel|torchrun", _source(script)):
        return ("it speaks of torch.distributed: consider the torchrun line in the file",)
    return ()


def _checkpoint(script: Path | None) -> str | None:
    found = re.search(r"""["']((?:ckpt|checkpoint)[\w.-]*\.(?:pt|pth|npz|ckpt))["']""", _source(script))
    return found.group(1) if found else None


def _source(script: Path | None) -> str:
    if script is None:
        return ""
    try:
        with script.open("rb") as file:
            return file.read(_LOOK_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _text(folder: str, command: list[str], rows: str | None, checkpoint: str | None) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("-._")[:64] or "campaign"
    words = ", ".join(json.dumps(word, ensure_ascii=False) for word in command)
    runs = f"runs = {json.dumps(rows)}  # one run a row; its columns are the {{words}} of the command" if rows else ""
    axes = "" if rows else '\n[matrix]  # every combination is a run; or: runs = "sweep.csv"\nseed = [0, 1, 2]\n'
    saved = checkpoint or "ckpt.pt"
    mark = "" if checkpoint else "# "
    return f"""\
# A campaign: what is to be computed. `overnight launch {FILE} --dry-run` shows what this would run.

name = "{name}"
command = [{words}]
# With several GPUs a run:
# command = ["torchrun", "--standalone", "--nproc-per-node={{gpus}}", …]
{runs}
{axes}
[resources]
# gpus = 1             # of each attempt; a fraction shares one, "all" takes them all
# slots = 2            # at most so many attempts side by side

[limits]
timeout = "24h"        # of a run, all its attempts together; "none" is the only way to have no bound
# startup = "60m"      # until the first step
# heartbeat = "auto"   # no sign of life for so long is a stall; or "15m"
# progress = "auto"    # no step for so long is a stall
# grace = "30s"        # between SIGTERM and SIGKILL: time to save a checkpoint

# [progress]
# pattern = 'iter (?P<step>\\d+)'   # usual loggers are known without it

[checkpoint]           # a run that is tried again goes on from its newest checkpoint
{mark}path = "{{out_dir}}/{saved}"
# resume = ["--resume"]             # appended when there is a checkpoint; may name {{checkpoint}}

# [retry]
# max_attempts = 4

# [env]
# HF_HOME = "/mnt/hf"

# [artifacts]
# required = ["summary.csv"]        # in {{out_dir}}: a run without them has not succeeded
"""
