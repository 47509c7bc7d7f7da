"""What status and why say of causes in common and of scouts: what is wrong, how many, what is typed, what goes on."""

from typing import Any

import pytest

from overnight.model.campaign import Campaign, Cause, Hold, Root
from overnight.model.codec import replace
from overnight.model.policy import Policy, Resources
from overnight.model.states import CampaignState
from overnight.model.time import Moment
from overnight.queries import causes


def at(seconds: float) -> Moment:
    return Moment(1000.0 + seconds, 1_700_000_000.0 + seconds, "boot")


def cause(name: str = "auth", about: str = "huggingface.co", **more: Any) -> Cause:
    known: dict[str, Any] = {"runs": ("a", "b", "c"), "size": 7, "held": at(60), **more}
    return Cause(name, about, "401 Client Error", at(0), **known)


def campaign(*found: Cause, state: CampaignState = CampaignState.HELD, **more: Any) -> Campaign:
    keyed = {f"{each.name}:{each.about}": each for each in found}
    return Campaign(
        "bat-1", "bat", "0" * 64, at(0), Policy(resources=Resources(slots=2)), "/", state=state, causes=keyed, **more
    )


def test_a_held_cause_says_what_how_many_and_the_one_command() -> None:
    """Ninety-six lines of the same 401 in the morning, and nothing said what to do about all of them."""
    (need,) = causes.needs(campaign(cause()), at(100))
    assert need.what == "7 runs are held: auth (huggingface.co)"
    assert need.why == ("401 Client Error. Renew the token or ask for access; nothing lets them go but you")
    assert (need.command, need.runs) == ("overnight resume bat-1", ("a", "b", "c"))


def test_a_probed_cause_says_when_it_is_looked_at_next() -> None:
    """A person resumed what would have gone on by itself in a minute, or waited for what never would."""
    (need,) = causes.needs(campaign(cause("network", due=at(160), found="port 443: timed out")), at(100))
    assert "a probe lets them go when it is cured, the next in 60 s; last look: port 443: timed out" in need.why


def test_a_judgement_that_waits_names_what_would_decide() -> None:
    """A held run that nobody explains is one more thing to look into."""
    (need,) = causes.needs(campaign(cause(runs=("a",), size=1, held=None)), at(100))
    assert need.what == "1 run is held until judged: auth (huggingface.co)"
    assert "2 more runs with the same" in need.why and need.command == "overnight resume bat-1 a"


def test_a_subject_that_is_the_message_is_said_once() -> None:
    """`import (No module named 'x2'): No module named 'x2'`: twice the line to read, in the way of the command."""
    found = cause("import", "ModuleNotFoundError: No module named 'x#'", runs=("a",), size=1, held=None)
    (need,) = causes.needs(campaign(replace(found, message="ModuleNotFoundError: No module named 'x2'")), at(100))
    assert need.what == "1 run is held until judged: import"
    assert need.why.startswith("ModuleNotFoundError: No module named 'x2'. 2 more runs")


def test_proven_causes_come_first() -> None:
    """What holds ninety runs stood below what holds one."""
    waiting, proven = cause(about="x.org", runs=("z",), size=1, held=None), cause()
    assert [need.runs for need in causes.needs(campaign(waiting, proven), at(0))] == [("a", "b", "c"), ("z",)]


def test_scouts_are_told_with_the_next_ones_time() -> None:
    """`0 running, 93 pending` and no word of why."""
    root = Root("code", "KeyError: 'x'", ("a", "b", "c"), 3.0)
    held = campaign(state=CampaignState.ACTIVE, roots={"k": root}, hold=Hold("k", at(0), at(300), 2))
    (need,) = causes.needs(held, at(60))
    assert need.what == "nothing but scouts starts: code"
    assert "2 scouts tried so far, the next in 4 min" in need.why
    assert causes.words(held, {"pending": 93}, at(60)).endswith("the next in 4 min; 93 wait")
    assert "only scouts start, since a, b, c failed alike (code)" in causes.why_pending(held, at(60))
    report = causes.scouts(held)
    assert report is not None and (report.failure_class, report.started) == ("code", 2)


@pytest.mark.parametrize(
    ("found", "state", "counts", "expected"),
    [
        ((), CampaignState.FAILED, {"failed": 1}, True),
        ((), CampaignState.ACTIVE, {"pending": 1}, False),
        ((), CampaignState.PAUSED, {"pending": 1}, True),
        ((), CampaignState.PAUSED, {"running": 1}, False),
        ((), CampaignState.HELD, {"held": 1}, True),
        ((cause(),), CampaignState.HELD, {"held": 7}, True),
        ((cause(due=at(1)),), CampaignState.HELD, {"held": 7}, False),
        ((cause(freed="it is cured"),), CampaignState.HELD, {"held": 7}, False),
        ((cause(), cause("network", "x.org", due=at(1))), CampaignState.HELD, {"held": 14}, False),
    ],
)
def test_waiting_ends_when_nothing_can_move_without_a_person(
    found: tuple[Cause, ...], state: CampaignState, counts: dict[str, int], expected: bool
) -> None:
    """`--wait` came back while a probe was about to let everything go on, or never although only a person could."""
    assert causes.settled(campaign(*found, state=state), counts) is expected


def test_why_names_the_provers_and_the_next_look() -> None:
    """`why` of a held run said "held" and no more."""
    found = cause("network", due=at(130), found="no way to it: timed out")
    words = causes.why_held(campaign(found), "network:huggingface.co", at(100))
    assert words == "shown by a, b, c; it holds 7 runs; the next probe in 30 s (last: no way to it: timed out)"
