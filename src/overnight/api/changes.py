"""Changes that a person asks for: each becomes one request and returns the supervisor's answer."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.arguments import Settings, path_of, settings_of
from overnight.api.asking import ask
from overnight.api.errors import NotFound, Refused, in_words
from overnight.api.ruling import check_own
from overnight.api.shell import by, code_of, patch_of, this_shell, workdir
from overnight.model.codec import replace
from overnight.model.requests import Amend, Answer, Cancel, Pause, Resume, Retry
from overnight.supervisor.inbox import new_request_id

_TOLD = 5  # changes that the campaign's story names

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.manifest import Amendment
    from overnight.model.campaign import Campaign as Record
    from overnight.model.policy import CodeIdentity


def retry(campaign: "Campaign", runs: Sequence[str], failure_class: str | None, scratch: bool) -> Answer:
    """See `Campaign.retry`."""
    if failure_class is not None:
        _check_class(failure_class)
        if runs:
            raise Refused("runs and a class were both named", "name the runs, or the class")
    record = _record(campaign, runs)
    shell, _ = this_shell(Path.cwd())
    code, patch = _code(campaign, record)
    return ask(
        campaign.place,
        Retry(
            id=new_request_id(),
            by=by(),
            campaign=campaign.id,
            shell=shell,
            code=code,
            run_ids=tuple(runs),
            failure_class=failure_class,
            scratch=scratch,
            patch=patch,
        ),
    )


def amend(
    campaign: "Campaign",
    file: str | Path | None,
    *,
    settings: Settings,
    runs: str | Path | None,
    drop: Sequence[str],
    env: bool,
    why: str,
) -> Answer:
    """See `Campaign.amend`."""
    if not (file or settings or runs or drop or env):
        raise Refused("nothing to amend was named", "for example --set limits.heartbeat=45m, or a campaign file")
    path_of(file, "file")
    path_of(runs, "runs")
    record = _record(campaign, drop)
    amendment = _amendment(campaign, record, file, settings_of(settings), runs)
    shell, _ = this_shell(Path.cwd())
    code, patch = _code(campaign, record)
    asked = bool(amendment.added or amendment.changed or drop or env or why) or amendment.policy != record.policy
    if not asked and code.digest in (None, record.code):
        return Answer(True, "it is so already: no revision was made", campaign=campaign.id)
    changes = list(amendment.changes)
    if amendment.added:
        changes.append(f"{len(amendment.added)} run{'s' if len(amendment.added) > 1 else ''} added")
    answer = ask(
        campaign.place,
        Amend(
            id=new_request_id(),
            by=by(),
            campaign=campaign.id,
            code=code,
            policy=amendment.policy if file or settings else None,
            added=amendment.added,
            changed=amendment.changed,
            dropped=tuple(dict.fromkeys(drop)),
            shell=shell if env else None,
            why=why,
            words=_in_short([*changes, *(["another environment"] if env else [])]),
            patch=patch,
        ),
    )
    return replace(answer, details=(*answer.details, *changes, *amendment.warnings))


def _in_short(changes: list[str]) -> str:
    rest = len(changes) - _TOLD
    return "; ".join([*changes[:_TOLD], *([f"and {rest} more"] if rest > 0 else [])])


def pause(campaign: "Campaign", now: bool) -> Answer:
    """See `Campaign.pause`."""
    return ask(campaign.place, Pause(id=new_request_id(), by=by(), campaign=campaign.id, now=now))


def resume(campaign: "Campaign", runs: Sequence[str], *, moved: bool = False) -> Answer:
    """See `Campaign.resume`. `moved`: to this host, which has taken the root over, and to this shell's GPUs."""
    record = _record(campaign, runs)
    shell, _ = this_shell(Path.cwd())
    code, patch = _code(campaign, record)
    devices = None
    if moved:
        from overnight.executors.gpus import visible_devices

        devices = visible_devices(os.environ)
    request = Resume(
        id=new_request_id(),
        by=by(),
        campaign=campaign.id,
        shell=shell,
        code=code,
        run_ids=tuple(runs),
        devices=devices,
        patch=patch,
    )
    return ask(campaign.place, request)


def cancel(campaign: "Campaign", runs: Sequence[str]) -> Answer:
    """See `Campaign.cancel`."""
    _record(campaign, runs)
    request = Cancel(id=new_request_id(), by=by(), campaign=campaign.id, run_ids=tuple(runs))
    return ask(campaign.place, request)


def _record(campaign: "Campaign", runs: Sequence[str]) -> "Record":
    """The campaign's record; every run named must be one of its."""
    with campaign.reading() as store:
        record = store.campaign(campaign.id)
        if record is None:
            raise NotFound(f"no campaign {campaign.id} under {campaign.root}", "overnight status lists them")
        known = len(store.positions(campaign.id, run_ids=list(dict.fromkeys(runs)))) if runs else 0
        if known == len(set(runs)):
            return record
        unknown = [run for run in runs if not store.positions(campaign.id, run_ids=[run])]
    raise NotFound(
        f"no run {', '.join(unknown[:5])} in {campaign.id}", f"overnight status {campaign.id} lists its runs"
    )


def _amendment(
    campaign: "Campaign",
    record: "Record",
    file: str | Path | None,
    settings: Sequence[str],
    runs: str | Path | None,
) -> "Amendment":
    """What is asked for, checked against the campaign as its revisions have made it."""
    from overnight.manifest import amend_campaign, load_manifest, load_revision

    with campaign.reading() as store:
        data = store.manifest(campaign.id)
        revisions = [load_revision(document) for document in store.revisions(campaign.id)]
    if data is None:
        raise NotFound(f"the manifest of {campaign.id} is not in the database", "overnight rebuild restores it")
    with in_words():
        amendment = amend_campaign(
            load_manifest(data),
            record.policy,
            file=Path(file) if file is not None else None,
            settings=tuple(settings),
            runs=Path(runs) if runs is not None else None,
            cwd=Path.cwd(),
            devices=len(record.devices),
            added=[spec for revision in revisions for spec in revision.added],
            dropped={run for revision in revisions for run in revision.dropped},
            own={spec.run_id: spec.policy for revision in revisions for spec in (*revision.added, *revision.changed)},
        )
    check_own(amendment.policy.failures, record.policy.failures)
    return amendment


def _code(campaign: "Campaign", record: "Record") -> "tuple[CodeIdentity, str | None]":
    """The code as it is now; if it is not the campaign's any more, with the patch for its revision."""
    folder = workdir(record.policy.cwd, Path(record.cwd))
    code = code_of(folder, campaign.place)
    changed = code.digest is not None and code.digest != record.code
    return code, patch_of(folder, campaign.place) if changed else None


def _check_class(name: str) -> None:
    from difflib import get_close_matches

    from overnight.model.classes import CLASSES

    if name not in CLASSES:
        near = get_close_matches(name, CLASSES, 1)
        raise Refused(
            f"no failure class {name!r}",
            f"did you mean {near[0]}?" if near else f"there are: {', '.join(CLASSES)}",
        )
