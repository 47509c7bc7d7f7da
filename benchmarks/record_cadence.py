"""Records the cadence of a real program: `python benchmarks/record_cadence.py NAME -- COMMAND…`.

The command's output goes to a file, as under a supervisor; `{out}` in it is a folder that is watched too. A row of
the record, benchmarks/cadences/NAME.jsonl, is what came since the row before: the second, the output as it was
written, and the files that changed with their sizes. The first row says what was run.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EACH_SECONDS = 0.1
CADENCES = Path(__file__).with_name("cadences")


def main(name: str, command: list[str]) -> int:
    """Exit code: the command's."""
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder, "output.log"), Path(folder, "out")
        out.mkdir()
        argv = [word.replace("{out}", str(out)) for word in command]
        rows: list[dict[str, object]] = []
        with log.open("wb") as file:
            begun = time.monotonic()
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            read, ended = 0, False
            before: dict[str, tuple[int, int]] = {}
            while not ended:
                ended = child.poll() is not None
                with log.open("rb") as new:
                    new.seek(read)
                    data = new.read()
                read += len(data)
                found = {path: _state(out / path) for path in os.listdir(out)}
                changed = {path: state[0] for path, state in found.items() if before.get(path) != state}
                before = found
                row: dict[str, object] = {"t": round(time.monotonic() - begun, 2)}
                if data:
                    row["out"] = data.decode("utf-8", "replace")
                if changed:
                    row["files"] = changed
                if len(row) > 1:
                    rows.append(row)
                time.sleep(0 if ended else EACH_SECONDS)
            seconds = time.monotonic() - begun
        head = {"name": name, "command": [Path(word).name for word in command], "seconds": round(seconds, 2),
                "exit_code": child.returncode}  # fmt: skip
        lines = [json.dumps(row, ensure_ascii=False) for row in (head, *rows)]
        (CADENCES / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return child.returncode


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[3:]))
