"""What a person is told of, and in how many words."""

from typing import Any

from core_world import a_campaign, at

from overnight.core.notices import BODY_CHARACTERS, TITLE_CHARACTERS, digest, of_campaign, of_run, text
from overnight.model.campaign import Campaign, Cause, Hold, Root
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.notices import Notice, NoticeKind, Telling, Untelling
from overnight.model.run import Attempt, Run, Slot
from overnight.model.states import AttemptState, CampaignState, RunState

RUN = Run("bat-1", "r0", 0)


def failed(name: str = "oom.gpu", message: str = "CUDA out of memory") -> Run:
    return replace(RUN, state=RunState.FAILED, failure=Classification(name, "rule", message))


def attempted(state: AttemptState) -> Run:
    return replace(RUN, state=RunState.RUNNING, attempts=(Attempt(1, 1, state, 1, Slot("cpu-0"), at(0)),))


def ended(state: CampaignState, **counts: int) -> Campaign:
    return a_campaign(state=state, counts=counts, runs_total=sum(counts.values()), ended=at(9))


def notice(**more: Any) -> Notice:
    fields: dict[str, Any] = {"why": "", "command": "", "runs": 0} | more
    return Notice("bat-1", "cause", 1, NoticeKind.NEEDS_YOU, at(0), at(0), **fields)


def test_a_failure_is_told_with_its_class_and_the_command() -> None:
    """A notice that only said `a run failed` got its reader out of bed to look up which."""
    (telling,) = of_run(RUN, failed())
    assert isinstance(telling, Telling)
    assert (telling.cause, telling.what, telling.runs) == ("failed:oom.gpu", "failed: oom.gpu", 1)
    assert telling.command == "overnight retry bat-1 --class oom.gpu"
    assert "CUDA out of memory" in telling.why


def test_what_is_retried_by_a_person_is_untold() -> None:
    """A failure that somebody had already mended was still announced half a minute later."""
    assert of_run(failed(), replace(RUN, state=RunState.PENDING)) == [Untelling("bat-1", "failed:oom.gpu", 1)]


def test_lost_is_told_only_when_it_stays_so_and_is_untold_when_found() -> None:
    """A file system that hung for a minute at night called for a person."""
    live, lost = attempted(AttemptState.RUNNING), attempted(AttemptState.LOST)
    (telling,) = of_run(live, lost)
    assert isinstance(telling, Telling) and telling.delay == 30 * 60
    assert of_run(lost, live) == [Untelling("bat-1", "lost", 1)]


def test_a_hold_that_several_runs_share_is_told_by_whoever_holds_it() -> None:
    """Sixty runs held for one expired token would have been sixty notices beside the one that counts."""
    assert of_run(RUN, replace(RUN, state=RunState.HELD, cause="auth")) == []
    (telling,) = of_run(RUN, replace(RUN, state=RunState.HELD, cause="internal", words="KeyError"))
    assert isinstance(telling, Telling) and telling.cause == "held:internal"


def test_ordinary_moves_tell_nothing() -> None:
    """Whoever is told of every retry reads none."""
    assert of_run(RUN, attempted(AttemptState.RUNNING)) == []
    assert of_run(attempted(AttemptState.RUNNING), replace(RUN, state=RunState.SUCCEEDED)) == []


def test_the_end_swallows_what_it_says_itself() -> None:
    """A campaign of one run that failed was announced twice within a second."""
    words = of_campaign(a_campaign(), ended(CampaignState.FAILED, succeeded=10, failed=2))
    assert Untelling("bat-1", "failed:*") in words and Untelling("bat-1", "quarantine:*") not in words
    (end,) = [word for word in words if isinstance(word, Telling)]
    assert (end.kind, end.what) == (NoticeKind.END, "ended: 10 of 12 done, 2 failed")


def test_a_campaign_that_only_a_person_can_move_is_told() -> None:
    """All that was left was held at midnight; the morning found eight idle GPUs."""
    words = of_campaign(a_campaign(), ended(CampaignState.HELD, succeeded=1, held=2))
    assert [word.cause for word in words] == ["failed:*", "campaign-held"]
    active = replace(ended(CampaignState.HELD, held=1), state=CampaignState.ACTIVE)
    assert of_campaign(ended(CampaignState.HELD, held=1), active) == [Untelling("bat-1", "campaign-held")]


def test_a_pause_is_told_only_if_no_person_made_it() -> None:
    """Whoever types `pause` needs no notice of it; a pause because the code changed stops the night."""
    by_itself = a_campaign(paused=True, paused_why="the code changed: paused by code.on_change")
    (word,) = of_campaign(a_campaign(), by_itself)
    assert isinstance(word, Telling) and word.command == "overnight resume bat-1"
    assert of_campaign(a_campaign(), a_campaign(paused=True, paused_why="code@host paused it")) == []
    assert of_campaign(by_itself, by_itself) == []


def test_it_fits_a_lock_screen_and_the_command_is_whole() -> None:
    """A title of 120 characters showed its name and not what had happened; half a command cannot be typed."""
    command = "overnight retry bat-4k2xq9m1t7 --class data.missing"
    campaign = a_campaign(counts={"running": 3, "pending": 10, "waiting": 2, "failed": 7})
    campaign = replace(campaign, name="a-very-long-name-of-a-campaign-that-somebody-thought-of")
    long = notice(what="failed: data.missing", runs=7, why="r1: " + "no such file " * 60, command=command)
    words = text(long, {"bat-1": campaign})
    assert len(words.title) <= TITLE_CHARACTERS and len(words.body) <= BODY_CHARACTERS
    assert "7 runs failed" in words.title
    assert words.body.endswith(f"3 running, 12 to come. {command}")


def test_a_notice_carries_no_orders_for_a_terminal() -> None:
    """`[notify] command` printed the last words of a run, and they cleared the screen."""
    hostile = notice(what="failed: code", runs=1, why="r1: \x1bc\x9b2J\x07 boo")
    assert text(hostile, {"bat-1": a_campaign()}).body.startswith("r1: \\x1bc\\x9b2J\\x07 boo")


def test_one_run_is_not_called_runs() -> None:
    """Words for people."""
    assert text(notice(what="failed: code", runs=1), {"bat-1": a_campaign()}).title == "bat: 1 run failed: code"


def test_the_digest_tells_of_what_is_open_or_ended_since() -> None:
    """A digest about a campaign of last month, and none about the one of tonight."""
    tonight = a_campaign(counts={"succeeded": 3, "failed": 1, "pending": 4}, runs_total=8)
    old = replace(ended(CampaignState.SUCCEEDED, succeeded=2), id="old-1", name="old")
    told = digest([old, tonight], at(100).wall)
    assert told is not None
    assert (told.what, told.why) == ("3 of 8 done, 1 failed", "bat 3/8, 1 failed")
    assert digest([old], at(100).wall) is None


def in_common(**more: Any) -> Campaign:
    cause = Cause("auth", "huggingface.co", "401 Client Error", at(0), ("a", "b", "c"), 3, held=at(5))
    return a_campaign(causes={"auth:huggingface.co": replace(cause, **more)}, counts={"held": 3, "pending": 1})


def test_a_cause_in_common_is_told_once_when_it_is_proven() -> None:
    """The phone rang for each of the runs that one expired token held, and again when the last of them was."""
    waiting = in_common(held=None)
    assert of_campaign(a_campaign(), waiting) == []
    (word,) = of_campaign(waiting, in_common())
    assert isinstance(word, Telling)
    assert (word.what, word.runs, word.delay) == ("held: auth (huggingface.co)", 3, 0.0)
    assert word.command == "overnight resume bat-1" and "renew the token" in word.why
    assert of_campaign(in_common(), in_common(size=9)) == []
    all_held = replace(in_common(size=4), state=CampaignState.HELD, counts={"held": 4})
    assert of_campaign(in_common(), all_held) == []


def test_what_is_cured_need_not_be_told() -> None:
    """Somebody got up for a mount that had come back before he was dressed."""
    expected = [Untelling("bat-1", "cause:auth:huggingface.co")]
    assert of_campaign(in_common(), in_common(freed="it is cured")) == expected
    assert of_campaign(in_common(), a_campaign()) == expected


def test_scouts_are_told_instead_of_the_failures_that_they_follow() -> None:
    """Three failures, a hold and three more failures were five notices of one typing error."""
    root = Root("code", "KeyError: 'x'", ("a", "b", "c"), 5.0)
    held = a_campaign(roots={"k": root}, hold=Hold("k", at(0), at(60)), counts={"pending": 9})
    untold, word = of_campaign(a_campaign(), held)
    assert untold == Untelling("bat-1", "failed:code") and isinstance(word, Telling)
    assert word.what == "nothing but scouts starts: code" and word.command == "overnight resume bat-1"
    assert of_campaign(held, replace(held, hold=Hold("k", at(0), at(180), 1))) == []
    assert of_campaign(held, replace(held, hold=None)) == [Untelling("bat-1", "scouts")]
