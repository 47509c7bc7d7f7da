"""Launching: read and check everything on the client, then hand over one request.

What is wrong is refused before anything is written: a refusal leaves the disk as it was.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from overnight.api.arguments import Settings, command_of, path_of, settings_of
from overnight.api.asking import ask
from overnight.api.campaign import Campaign
from overnight.api.errors import Refused, in_words
from overnight.api.places import Place, place_of, root_name
from overnight.api.ruling import check_own
from overnight.api.shell import by, code_of, patch_of, this_shell, user, workdir
from overnight.artifacts.layout import of_root
from overnight.model.codec import Struct
from overnight.model.requests import Launch
from overnight.model.states import UNENDED
from overnight.supervisor.inbox import new_request_id

if TYPE_CHECKING:
    from overnight.model.campaign import Campaign as Record
    from overnight.model.campaign import Device
    from overnight.model.manifest import Frozen

DEFAULT_FILE = "overnight.toml"
_LEAST_BYTES = 4 * 1024 * 1024  # beside what the manifest itself needs a few times over
_LEAST_INODES = 100
_PROBE = b"overnight\n" * 6554  # 64 KiB: a file system may still have a few bytes for a small file


class Prepared(Struct, frozen=True):
    """A launch that has been read and checked, and not yet asked for."""

    frozen: "Frozen"
    place: Place
    devices: "tuple[Device, ...]"
    cwd: Path
    folder: Path  # where commands run
    warnings: tuple[str, ...]
    slots: int  # attempts side by side
    file: Path | None = None  # the campaign file, as it was named


def launch(
    file: str | Path | None = None,
    *,
    runs: str | Path | None = None,
    command: Sequence[str] | str | None = None,
    name: str | None = None,
    gpus: str | float | None = None,
    slots: int | None = None,
    timeout: str | None = None,
    settings: Settings = (),
    only: str | None = None,
    limit: int | None = None,
    executor: str | None = None,
    fresh: bool = False,
    root: str | Path | None = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Campaign:
    """Start a campaign, or go on with the one that these rows and this command already are.

    `file`: a campaign file; without `file`, `runs` and `command` it is `overnight.toml`. The rest are the
    options of `overnight launch` of the same names: `command` a list of arguments, or one string for bash; `settings`
    as `--set` has them, or a dictionary (`{"limits.heartbeat": "45m"}`). `env`: what runs inherit (default: our own
    environment).
    Returns at once when the supervisor has taken it; `known` of the result says whether it was there already.

    Raises `Refused` (with all `faults` of the file), or `Unreachable` if no supervisor can be brought up.
    """
    prepared = prepare(
        file, runs=runs, command=command, name=name, gpus=gpus, slots=slots, timeout=timeout, settings=settings,
        only=only, limit=limit, executor=executor, root=root, cwd=cwd, env=env,
    )  # fmt: skip
    return start(prepared, fresh=fresh, env=env)


def prepare(
    file: str | Path | None = None,
    *,
    runs: str | Path | None = None,
    command: Sequence[str] | str | None = None,
    name: str | None = None,
    gpus: str | float | None = None,
    slots: int | None = None,
    timeout: str | None = None,
    settings: Settings = (),
    only: str | None = None,
    limit: int | None = None,
    executor: str | None = None,
    root: str | Path | None = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Prepared:
    """Read and check a launch; writes nothing. Arguments as of `launch`."""
    from overnight.executors.gpus import visible_devices
    from overnight.manifest import read_campaign

    path_of(file, "file")
    path_of(runs, "runs")
    here = Path(cwd or Path.cwd()).absolute()
    _check_utf8(here, root_name(root), file, runs)
    path = _campaign_file(file, runs, command, here)
    with in_words():
        devices = visible_devices(os.environ if env is None else env)
        frozen = read_campaign(
            path,
            runs=Path(runs) if runs is not None else None,
            command=command_of(command),
            name=name,
            gpus=None if gpus is None else f"{gpus:g}" if isinstance(gpus, float) else str(gpus),
            slots=slots,
            timeout=timeout,
            settings=settings_of(settings),
            only=only,
            limit=limit,
            executor=executor,
            cwd=here,
            devices=len(devices),
        )
        check_own(frozen.policy.failures)
        place = place_of(root_name(root))
        if frozen.policy.executor == "fake":
            _check_knobs(frozen, path)
    folder = workdir(frozen.policy.cwd, here if path is None else (here / path).parent)
    if not folder.is_dir():
        raise Refused(f"the folder that commands should run in is not there: {folder}", "correct `cwd`")
    return Prepared(
        frozen=frozen,
        place=place,
        devices=devices,
        cwd=here,
        folder=folder,
        warnings=frozen.warnings,
        slots=_slots(frozen, devices),
        file=path,
    )


def start(prepared: Prepared, *, fresh: bool = False, env: Mapping[str, str] | None = None) -> Campaign:
    """Ask for what was prepared."""
    from overnight.artifacts.roots import remember_root, state_dir

    frozen, place = prepared.frozen, prepared.place
    known = _known(prepared, fresh)
    warnings = [*prepared.warnings, *(_other_policy(prepared, known) if known is not None else ())]
    if known is not None and known.state not in UNENDED:
        words = f"this very campaign has ended ({known.state}); nothing was started"
        return Campaign(known.id, place, known=True, words=words, warnings=warnings)
    for folder in dict.fromkeys((place.root, place.state)):
        _check_room(folder, len(frozen.manifest_bytes))
    shell, dropped = this_shell(prepared.cwd, env)
    with in_words():
        try:
            place.root.mkdir(parents=True, exist_ok=True)
            state = state_dir(place.root, os.environ)
        except OSError as problem:
            raise Refused(f"{place.root} cannot be made: {problem.strerror}", "choose another --root") from problem
    place = Place(place.root_name, str(state))
    request = Launch(
        id=new_request_id(),
        by=by(),
        frozen=frozen,
        shell=shell,
        devices=prepared.devices,
        code=code_of(prepared.folder, place),
        fresh=fresh,
        patch=patch_of(prepared.folder, place),
    )
    answer = ask(place, request)
    name = answer.campaign or frozen.campaign
    if not remember_root(place.root, name):
        dropped.append(f"your home directory remembers nothing: later commands need {of_root(place.root)}")
    return Campaign(
        name,
        place,
        known=not answer.created,
        words=answer.message,
        warnings=[*warnings, *dropped, *_of_logout(place, env), *_of_own_config(), *answer.details],
    )


def _of_logout(place: Place, env: Mapping[str, str] | None) -> list[str]:
    """One line where a logout would end the night."""
    from overnight.probes.host import logout_kills
    from overnight.supervisor.keep import KEEPER_STAY

    if (place.state / KEEPER_STAY).exists() or not logout_kills(os.environ if env is None else env, user()):
        return []
    command = f"overnight supervisor install {of_root(place.root_name)}"
    return [f"when you log out, systemd ends what you started: {command} keeps it (see doctor)"]


def _of_own_config() -> list[str]:
    """One line where nobody would be told of anything, though somebody was meant to be."""
    from overnight.manifest.own_config import own_config_path, read_own_config
    from overnight.model.manifest import Refusal

    try:
        read_own_config(own_config_path(os.environ))
    except Refusal as refusal:
        return [f"nobody may be told of anything: {refusal.message}{f' ({refusal.hint})' if refusal.hint else ''}"]
    return []


def _campaign_file(
    file: str | Path | None, runs: str | Path | None, command: Sequence[str] | str | None, here: Path
) -> Path | None:
    if file is not None:
        return Path(file)
    if command is not None:
        return None
    if (here / DEFAULT_FILE).is_file():
        return Path(DEFAULT_FILE)
    if runs is not None:
        raise Refused("--runs names rows, but no command", "overnight launch --runs CSV -- COMMAND…")
    raise Refused(
        f"no campaign was named, and there is no {DEFAULT_FILE} here",
        "overnight launch FILE, or overnight launch -- COMMAND…, or overnight init to begin",
    )


def _check_knobs(frozen: "Frozen", path: Path | None) -> None:
    """Raises Refusal with everything that is wrong in `[fake]`."""
    from overnight.executors.fake import check_knobs
    from overnight.model.manifest import Fault, Refusal

    wrong = check_knobs(frozen.policy.fake)
    if wrong:
        faults = tuple(Fault(f"fake.{words}", None if path is None else path.name) for words in wrong)
        raise Refusal(f"[fake] has {len(wrong)} faults", "see docs/reference/fake-executor.md", faults)


def _slots(frozen: "Frozen", devices: "tuple[Device, ...]") -> int:
    """Attempts side by side: the record's own rule, before there is a record."""
    from overnight.model.campaign import Campaign as Record
    from overnight.model.time import Moment

    record = Record(
        id=frozen.campaign,
        name=frozen.manifest.name,
        sha256=frozen.sha256,
        created=Moment(0.0, 0.0),
        policy=frozen.policy,
        cwd=".",
        devices=devices,
    )
    return record.slots


def _known(prepared: Prepared, fresh: bool) -> "Record | None":
    """The record of this very campaign, if it was launched before. Raises `Refused` if an unfinished campaign
    of the same name computes something else (unless `fresh`)."""
    from overnight.store import ReadStore

    if not prepared.place.begun:
        return None
    frozen = prepared.frozen
    with in_words():
        store = ReadStore(prepared.place.database)
        try:
            records = store.campaigns()
            for record in records:
                if record.id == frozen.campaign:
                    return record
            others = [r for r in records if r.name == frozen.manifest.name and r.state in UNENDED]
            if others and not fresh:
                raise _other_manifest(prepared, others[-1], store.manifest(others[-1].id))
        finally:
            store.close()
    return None


def _other_policy(prepared: Prepared, known: "Record") -> list[str]:
    """A campaign that is there keeps its policy: limits in the file that differ are said, not obeyed."""
    from overnight.manifest.amend import policy_changes

    changes = policy_changes(known.policy, prepared.frozen.policy)
    if not changes:
        return []
    changed_by = "--set KEY=VALUE" if prepared.file is None else quote(str(prepared.file))
    words = f"{known.id} keeps its own policy ({'; '.join(changes)} is not obeyed)"
    return [f"{words}: overnight amend {known.id} {changed_by}"]


def _other_manifest(prepared: Prepared, record: "Record", manifest: bytes | None) -> Refused:
    from overnight.manifest import difference, load_manifest
    from overnight.model.manifest import Fault

    differences: list[str] = []
    if manifest is not None:
        differences = difference(load_manifest(manifest), prepared.frozen.manifest)
    return Refused(
        f"{record.id} is not finished, and this would compute something else under the same name",
        f"to change it: overnight amend {record.id}; to run this beside it: overnight launch --fresh; "
        "or give this one a --name of its own",
        tuple(Fault(message=words) for words in differences),
    )


def _check_utf8(*paths: str | Path | None) -> None:
    """Records are JSON: a path that is no text could be neither written down nor found again."""
    for path in paths:
        try:
            str(path or "").encode()
        except UnicodeEncodeError:
            shown = os.fsencode(str(path)).decode("utf-8", "backslashreplace")
            raise Refused(f"the path {shown} is not UTF-8", "rename it; nothing was written") from None


def _check_room(folder: Path, manifest_bytes: int) -> None:
    """That the volume of `folder`, which need not exist yet, can be written and has room."""
    # os.path, not Path: what lies behind a folder that is closed to us is simply not there.
    existing = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
    dangling = next(
        (each for each in (folder, *folder.parents) if os.path.islink(each) and not os.path.exists(each)), None
    )
    if dangling is not None:
        raise Refused(f"{dangling} is a link to {os.readlink(dangling)}, which is not there", "choose another --root")
    if not existing.is_dir():
        raise Refused(f"{existing} is a file, so {folder} cannot be a directory", "choose another --root")
    room = os.statvfs(existing)
    needed = _LEAST_BYTES + 4 * manifest_bytes
    full = f"no space left on the volume of {folder}"
    hint = "free some space there, or choose another place with --root (and OVERNIGHT_STATE); nothing was written"
    if room.f_blocks and room.f_bavail * room.f_frsize < needed:
        free = room.f_bavail * room.f_frsize // 1024
        raise Refused(f"{full}: {free:,} KiB are free, {-(-needed // 1024):,} are needed to begin", hint)
    if room.f_files and room.f_favail < _LEAST_INODES:
        raise Refused(f"{full}: {room.f_favail} inodes are free", hint)
    from tempfile import TemporaryFile

    try:  # a name of its own, and none where that can be: threads and containers share process numbers
        with TemporaryFile(prefix=".overnight-probe-", dir=existing, buffering=0) as probe:
            probe.write(_PROBE)
            os.fsync(probe.fileno())
    except OSError as problem:
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Refused(f"{full} (or your quota there is used up)", hint) from problem
        raise Refused(f"{folder} cannot be written: {problem.strerror}", "choose another --root") from problem
