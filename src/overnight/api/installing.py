"""Telling the machine to keep somebody watching a root: systemd where its user units work, else cron."""

import os
import subprocess
from pathlib import Path

from overnight.api.errors import Refused, Unreachable, in_words
from overnight.api.places import Place
from overnight.api.shell import user
from overnight.artifacts.layout import of_root
from overnight.model.codec import Struct
from overnight.supervisor import keep, units

CALL_SECONDS = 15.0
SYSTEMD, CRON = "systemd", "cron"
_CRON_DAEMONS = frozenset({"cron", "crond", "fcron", "cronie", "anacron", "systemd-cron"})


class Installation(Struct, frozen=True):
    """What is or would be installed for a root. `text`: the unit, or the line; `path`: the unit's file, or the
    words `your crontab`; `before`: what is there now of ours, None: nothing. `warnings`: what keeps it from working."""

    name: str
    method: str
    path: str
    text: str
    before: str | None
    warnings: tuple[str, ...] = ()

    @property
    def current(self) -> bool:
        """It is there as it should be."""
        return self.before == self.text


def plan(where: Place) -> Installation:
    """What `install` would write; writes nothing but the root's state directory. Raises `Unreachable` where there
    is neither systemd for users nor cron, `Refused` for a path that neither can hold."""
    from overnight.artifacts.roots import state_dir

    with in_words():
        state = state_dir(where.root, os.environ)
    name = units.name_of(where.root)
    try:
        if systemd_works():
            path = unit_path(name)
            text = units.unit(where.root, state, os.environ, os.uname().nodename)
            return Installation(name, SYSTEMD, str(path), text, _read(path), linger_warnings())
        table = crontab(where)
        text = units.cron_line(where.root, state, os.environ)
    except units.Unspeakable as problem:
        raise Refused(str(problem), "a root whose path holds none can be installed") from problem
    return Installation(name, CRON, "your crontab", text, _own_line(table, name), cron_warnings())


def install(where: Place, planned: Installation) -> None:
    """Write it and set it going. Safe to repeat."""
    if planned.method == SYSTEMD:
        path = Path(planned.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, planned.text)
        _call("systemctl", "--user", "daemon-reload")
        _call("systemctl", "--user", "enable", "--now", f"{planned.name}.service")
        return
    table = crontab(where)
    changed = units.with_line(table, planned.name, planned.text)
    if changed != table:
        _write_crontab(changed)


def uninstall(where: Place) -> list[str]:
    """Take out what `install` wrote, by whichever method; what was removed, in words. Who watches goes on."""
    name = units.name_of(where.root)
    removed = []
    path = unit_path(name)
    watched = keep.supervised(where.state)
    if path.exists():
        if systemd_works():
            _call("systemctl", "--user", "disable", "--now", f"{name}.service")
        path.unlink(missing_ok=True)
        if systemd_works():
            _call("systemctl", "--user", "daemon-reload")
        removed.append(str(path))
    (where.state / keep.KEEPER_STAY).unlink(missing_ok=True)
    table = _crontab_if_any()
    if table is not None and _own_line(table, name) is not None:
        _write_crontab(units.with_line(table, name, None))
        removed.append("the line in your crontab")
    if removed and watched:
        try:
            keep.ensure_keeper(where.root, where.state)
        except keep.CannotSupervise as problem:
            raise Unreachable(problem.message, problem.hint) from problem
    return removed


def installed(where: Place) -> str | None:
    """By which method somebody is kept watching; None: by none. Never raises."""
    name = units.name_of(where.root)
    if unit_path(name).exists():
        return SYSTEMD
    try:
        table = _crontab_if_any()
    except Unreachable:
        return None
    return CRON if table is not None and _own_line(table, name) is not None else None


# --- systemd -----------------------------------------------------------------------------------------------


def systemd_works() -> bool:
    """Whether this user has a service manager of their own, and it answers."""
    try:
        return _run("systemctl", "--user", "show-environment").returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def unit_path(name: str) -> Path:
    """Where this user's units are."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "systemd" / "user" / f"{name}.service"


def lingers() -> bool | None:
    """Whether systemd keeps this user's processes after logout; None: nobody can say."""
    try:
        done = _run("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value")
    except (OSError, subprocess.SubprocessError):
        return None
    said = done.stdout.strip()
    if done.returncode == 0 and said in ("yes", "no"):
        return said == "yes"
    return os.path.exists(f"/var/lib/systemd/linger/{user()}") if os.path.isdir("/var/lib/systemd/linger") else None


def linger_warnings() -> tuple[str, ...]:
    """What to say of it."""
    if lingers() is not False:
        return ()
    return (f"at your last logout systemd ends this unit, too: loginctl enable-linger {user()}",)


# --- cron --------------------------------------------------------------------------------------------------


def crontab(where: Place) -> str:
    """This user's table; empty if there is none. Raises `Unreachable` where there is no cron to ask."""
    table = _crontab_if_any()
    if table is None:
        raise Unreachable(
            "neither systemd for users nor cron is here: nothing can bring a supervisor back by itself",
            "install cron, or let whatever starts this machine run: "
            f"overnight supervisor start {of_root(where.root_name)}",
        )
    return table


def _crontab_if_any() -> str | None:
    try:
        done = _run("crontab", "-l")
    except FileNotFoundError:
        return None
    except (OSError, subprocess.SubprocessError) as problem:
        raise Unreachable(f"crontab -l: {problem}", "see whether cron works for you") from problem
    if done.returncode != 0 and "no crontab" not in done.stderr.lower():
        raise Unreachable(f"crontab -l: {_words(done)}", "see whether you may use cron: crontab(1)")
    return done.stdout if done.returncode == 0 else ""


def _write_crontab(table: str) -> None:
    if table.strip():
        _call("crontab", "-", given=table)
    else:
        _call("crontab", "-r")


def _own_line(table: str, name: str) -> str | None:
    return next((line for line in table.splitlines() if line.endswith(f"# {name}")), None)


def cron_warnings() -> tuple[str, ...]:
    """A table that nobody reads brings nobody back."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and (_read(Path("/proc", name, "comm")) or "").strip() in _CRON_DAEMONS:
            return ()
    return ("no cron daemon runs here, so nobody reads the table: start it (service cron start)",)


# --- calls -------------------------------------------------------------------------------------------------


def _run(*words: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, input=given, stdin=None if given is not None else subprocess.DEVNULL, capture_output=True, text=True,
        timeout=CALL_SECONDS, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip


def _call(*words: str, given: str | None = None) -> None:
    try:
        done = _run(*words, given=given)
    except (OSError, subprocess.SubprocessError) as problem:
        raise Unreachable(f"{' '.join(words)}: {problem}", "nothing else was done") from problem
    if done.returncode != 0:
        raise Unreachable(f"{' '.join(words)}: {_words(done)}", "nothing else was done")


def _words(done: "subprocess.CompletedProcess[str]") -> str:
    return " ".join((done.stderr or done.stdout).split())[:300] or f"exit {done.returncode}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError as problem:
        raise Unreachable(
            f"{path} cannot be written: {problem.strerror}", "it is where systemd looks for units"
        ) from problem
