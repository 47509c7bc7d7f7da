"""What a person must be told: from changes of runs and campaigns to tellings, and from notices to few words."""

from collections.abc import Iterable, Mapping

from overnight.core.causes import what
from overnight.model.campaign import Campaign
from overnight.model.classes import CLASSES, LOOK_FIRST
from overnight.model.effects import QuarantineSlot
from overnight.model.notices import Notice, NoticeKind, NoticeText, Telling, Untelling
from overnight.model.run import LOST_SECONDS, Run
from overnight.model.states import OVER, AttemptState, CampaignState, RunState
from overnight.model.visible import visible

GATHER_SECONDS = 30.0  # failures of one cause within this become one notice; the end of the campaign swallows it
TITLE_CHARACTERS = 50
BODY_CHARACTERS = 240

# What a campaign's end says itself, or makes void.
_ITS_OWN = ("failed:*", "held:*", "lost", "campaign-held", "cause:*", "scouts", "code")

Word = Telling | Untelling


def of_run(before: Run, now: Run) -> list[Word]:
    """What a run's move means for a person. Held for a cause that several runs share is told by whoever holds it."""
    words: list[Word] = [_of_gpu(now, effect) for effect in now.owed
                         if isinstance(effect, QuarantineSlot) and effect not in before.owed]  # fmt: skip
    was, is_ = _cause(before), _cause(now)
    if was == is_:
        return words
    if was is not None:
        words.append(Untelling(before.campaign, was, 1))
    if is_ is not None:
        words.append(_telling(now, is_))
    return words


def _of_gpu(run: Run, effect: QuarantineSlot) -> Telling:
    entry = effect.slot.name.partition(":")[2]
    return Telling(run.campaign, f"quarantine:{effect.slot.name}", NoticeKind.NEEDS_YOU, f"GPU {entry} is quarantined",
                   f"{effect.why}. The rest go on", f"overnight slots release {entry}")  # fmt: skip


def _cause(run: Run) -> str | None:
    if run.state == RunState.FAILED:
        return f"failed:{run.failure.name if run.failure is not None else 'unknown'}"
    if run.state == RunState.HELD and not _shared(run.cause):
        return f"held:{run.cause or 'held'}"
    newest = run.attempt
    return "lost" if newest is not None and newest.state == AttemptState.LOST else None


def _shared(cause: str) -> bool:
    return cause in CLASSES and cause != "internal"


def _telling(run: Run, cause: str) -> Telling:
    kind, _, name = cause.partition(":")
    if kind == "lost":
        why = f"{run.run_id}: {run.words}. Nothing replaces it: see whether its processes live"
        return Telling(run.campaign, cause, NoticeKind.NEEDS_YOU, "lost for 30 min", why,
                       f"overnight why {run.campaign} {run.run_id}", 1, LOST_SECONDS)  # fmt: skip
    if kind == "held":
        return Telling(run.campaign, cause, NoticeKind.NEEDS_YOU, f"held: {name}", f"{run.run_id}: {run.words}",
                       f"overnight resume {run.campaign}", 1, GATHER_SECONDS)  # fmt: skip
    said = run.failure.message if run.failure is not None else ""
    known = CLASSES.get(name)
    why = f"{run.run_id}: {said or (known.meaning if known is not None else name)}"
    again = f"overnight retry {run.campaign} --class {name}"
    command = f"overnight logs {run.campaign} {run.run_id}" if name in LOOK_FIRST else again
    return Telling(run.campaign, cause, NoticeKind.NEEDS_YOU, f"failed: {name}", why, command, 1, GATHER_SECONDS)


def of_campaign(before: Campaign | None, now: Campaign) -> list[Word]:
    """What a campaign's change means for a person. `before` None: it is new."""
    words: list[Word] = []
    was = CampaignState.ACTIVE if before is None else before.state
    if now.state != was and now.state in OVER:
        # It says how many failed: nothing of its runs need be told beside it.
        words += [Untelling(now.id, cause) for cause in _ITS_OWN]
        command = f"overnight status {now.id}"
        words.append(Telling(now.id, "end", NoticeKind.END, _ended(now), "", command, cools=False))
    elif now.state != was and now.state == CampaignState.HELD and not _all_in_common(now):
        words.append(Untelling(now.id, "failed:*"))
        why = "nothing of it can move without you"
        command = f"overnight status {now.id}"
        words.append(Telling(now.id, "campaign-held", NoticeKind.NEEDS_YOU, "all that is left is held", why, command))
    elif was == CampaignState.HELD and now.state != was:
        words.append(Untelling(now.id, "campaign-held"))
    words += _of_causes(before, now) + _of_scouts(before, now)
    paused_by_itself = now.paused and now.paused_why.startswith("the code changed")
    if paused_by_itself and not (before is not None and before.paused):
        words.append(Telling(now.id, "code", NoticeKind.NEEDS_YOU, "paused: the code changed", now.paused_why,
                             f"overnight resume {now.id}"))  # fmt: skip
    elif before is not None and before.paused and not now.paused:
        words.append(Untelling(now.id, "code"))
    return words


def _all_in_common(campaign: Campaign) -> bool:
    """Causes in common hold all that is held: each was told when it was proven."""
    return sum(cause.size for cause in campaign.causes.values()) >= campaign.counts.get("held", 0)


def _of_causes(before: Campaign | None, now: Campaign) -> list[Word]:
    old = {} if before is None else before.causes
    words: list[Word] = []
    if old is now.causes:
        return words
    for key in old.keys() | now.causes.keys():
        was, is_ = (c is not None and c.held is not None and not c.freed for c in (old.get(key), now.causes.get(key)))
        if was and not is_:
            words.append(Untelling(now.id, f"cause:{key}"))
        elif is_ and not was:
            cause = now.causes[key]
            why = f"{', '.join(cause.runs)}: {cause.message}. To do: {CLASSES[cause.name].remedy}"
            words.append(Telling(now.id, f"cause:{key}", NoticeKind.NEEDS_YOU, f"held: {what(cause.name, cause.about)}",
                                 why, f"overnight resume {now.id}", cause.size))  # fmt: skip
    return words


def _of_scouts(before: Campaign | None, now: Campaign) -> list[Word]:
    was, is_ = None if before is None else before.hold, now.hold
    if was is not None and is_ is None:
        return [Untelling(now.id, "scouts")]
    root = now.roots.get(is_.root) if was is None and is_ is not None else None
    if root is None:
        return []
    why = f"{', '.join(root.runs)} failed alike: {root.message}. Scouts go on"
    # Its first words name those that failed; nobody need be told of them twice.
    return [Untelling(now.id, f"failed:{root.name}"),
            Telling(now.id, "scouts", NoticeKind.NEEDS_YOU, f"nothing but scouts starts: {root.name}", why,
                    f"overnight resume {now.id}")]  # fmt: skip


def _ended(campaign: Campaign) -> str:
    counts = campaign.counts
    done, failed = counts.get("succeeded", 0), counts.get("failed", 0)
    if done == campaign.runs_total:
        return f"ended: all {done} done" if done != 1 else "ended: done"
    parts = [f"{done} of {campaign.runs_total} done"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{counts['cancelled']} cancelled"] if counts.get("cancelled") else []
    return "ended: " + ", ".join(parts)


# --- few words ---------------------------------------------------------------------------------------------


def text(notice: Notice, campaigns: Mapping[str, Campaign]) -> NoticeText:
    """The notice as it goes out now: what, how many, what still runs, the one command to type. The command is
    never cut: half of one is worse than none."""
    campaign = campaigns.get(notice.campaign)
    what = _headline(notice)
    title = clip(campaign.name if campaign is not None else "overnight", TITLE_CHARACTERS // 2) + f": {what}"
    parts = [notice.why.rstrip(". ")] if notice.why else []
    still = still_running([campaign] if campaign is not None else campaigns.values())
    rest = ". ".join([*([still] if still else []), notice.command]) if notice.command else still
    room = BODY_CHARACTERS - len(rest) - 2
    body = ". ".join([*(clip(part, room) for part in parts if room > 8), *([rest] if rest else [])])
    return NoticeText(
        notice.key, notice.kind.value, notice.campaign, clip(title, TITLE_CHARACTERS), clip(body, BODY_CHARACTERS),
        notice.command, notice.at.wall,
    )  # fmt: skip


def _headline(notice: Notice) -> str:
    if not notice.runs:
        return notice.what
    return f"{notice.runs} {'run' if notice.runs == 1 else 'runs'} {notice.what}"


def still_running(campaigns: Iterable[Campaign]) -> str:
    """What goes on: `3 running, 12 to come`. Empty when nothing does."""
    running = coming = 0
    for campaign in campaigns:
        running += campaign.counts.get("running", 0) + campaign.counts.get("verifying", 0)
        coming += campaign.counts.get("pending", 0) + campaign.counts.get("waiting", 0)
    parts = [f"{number} {word}" for number, word in ((running, "running"), (coming, "to come")) if number]
    return ", ".join(parts)


def clip(words: str, characters: int) -> str:
    """On one line, no longer than this; an ellipsis stands for what is left out."""
    words = visible(" ".join(words.split()))
    return words if len(words) <= characters else words[: max(0, characters - 1)].rstrip() + "…"


def digest(campaigns: Iterable[Campaign], since: float) -> Telling | None:
    """The morning's telling about all that is not over, or ended after `since` (Unix time); None: there is nothing."""
    open_ = [c for c in campaigns if c.ended is None or c.ended.wall >= since]
    if not open_:
        return None
    done, failed, held = (sum(c.counts.get(word, 0) for c in open_) for word in ("succeeded", "failed", "held"))
    total = sum(c.runs_total for c in open_)
    parts = [f"{done} of {total} done"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{held} held"] if held else []
    lines = [_line(c) for c in sorted(open_, key=lambda c: -c.created.wall)]
    command = f"overnight status {open_[0].id}" if len(open_) == 1 else "overnight status"
    return Telling("", "digest", NoticeKind.DIGEST, ", ".join(parts), "; ".join(lines), command, cools=False)


def _line(campaign: Campaign) -> str:
    counts = campaign.counts
    words = [f"{counts.get('succeeded', 0)}/{campaign.runs_total}"]
    words += [f"{counts[word]} {word}" for word in ("failed", "held", "cancelled") if counts.get(word)]
    state = "" if campaign.state == CampaignState.ACTIVE else f" {campaign.state.value}"
    return f"{campaign.name}{state} {', '.join(words)}"
