"""The difference of the code to its commit, for people who ask next month what really ran."""

import fnmatch
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from overnight.manifest.codefiles import LARGEST_BYTES, CodeProblem, Deadline, Listing, OutOfTime, list_code, run_git
from overnight.manifest.revisions import PATCH_BYTES, bounded_patch

# Named, never copied: the patch lies in a readable file.
_SECRET = (
    ".env*", "*.env", "*.pem", "*.key", "*.p12", "*.token", "*token.txt", "*token.json", "*secret*.json",
    "*secret*.toml", "*secret*.y*ml", "credentials*", ".netrc", ".pypirc", "id_rsa*", "id_ed25519*",
)  # fmt: skip


def code_patch(
    cwd: Path, exclude: Sequence[Path] = (), limit_bytes: int = PATCH_BYTES, deadline_seconds: float = 2.0
) -> str | None:
    """`git diff HEAD` and the untracked files, at most `limit_bytes`; commit and this make the code again.

    None without git, without a difference, or when it could not be taken in time. Files that look like secrets
    are named without their content. Never raises.
    """
    answer: list[str | None] = []

    def look() -> None:
        try:
            deadline = Deadline(deadline_seconds)
            answer.append(_patch(list_code(cwd, exclude, deadline), exclude, limit_bytes, deadline))
        except (OutOfTime, CodeProblem, OSError):
            answer.append(None)

    thread = threading.Thread(target=look, name="code-patch", daemon=True)
    thread.start()
    thread.join(deadline_seconds + 0.25)
    return answer[0] if answer else None


def _patch(listing: Listing, exclude: Sequence[Path], limit_bytes: int, deadline: Deadline) -> str | None:
    if not listing.git:
        return None
    parts: list[str] = []
    loose = listing.loose
    if listing.commit is not None:
        outside = [f":(exclude,top){relative}" for path in exclude if (relative := _below(path, listing.base))]
        secrets = [f":(exclude,top,glob)**/{pattern}" for pattern in _SECRET]
        arguments = (
            "diff",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--submodule=short",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "HEAD",
            "--",
            ":/",
        )
        diff = run_git(listing.base, *arguments, *outside, *secrets, deadline=deadline)
        parts.append(diff.decode("utf-8", "replace"))
    else:
        loose = tuple(sorted({*loose, *listing.tracked}))
    size = sum(map(len, parts))
    for name in loose:
        if size > limit_bytes:
            break
        _ = deadline.left
        text = _new_file(listing.base, name, limit_bytes)
        size += len(text)
        parts.append(text)
    whole = "".join(parts)
    return bounded_patch(whole, limit_bytes) if whole else None


def _below(path: Path, base: str) -> str | None:
    absolute = os.path.realpath(path)
    return os.path.relpath(absolute, base) if absolute.startswith(base.rstrip("/") + "/") else None


def _new_file(base: str, name: str, limit_bytes: int) -> str:
    """An untracked file, as git would show it once added."""
    path = os.path.join(base, name)
    head = f"new file {name}: "
    if any(fnmatch.fnmatchcase(name.rsplit("/", 1)[-1].lower(), pattern) for pattern in _SECRET):
        return f"{head}content left out, the name looks like a secret\n"
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
            return f"{head}content left out, no plain file or a large one\n"
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        return f"{head}content left out, {error.strerror}\n"
    if b"\0" in data:
        return f"{head}content left out, binary, {status.st_size} bytes\n"
    mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
    head = f"diff --git a/{name} b/{name}\nnew file mode {mode}\n"
    if not data:
        return head
    lines = data.decode("utf-8", "replace").split("\n")
    ending = "" if lines[-1] == "" else "\n\\ No newline at end of file"
    if lines[-1] == "":
        lines.pop()
    body = "\n".join(f"+{line}" for line in lines)
    return f"{head}--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n{body}{ending}\n"
