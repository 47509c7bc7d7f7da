"""`overnight why`: why a campaign or a run is as it is."""

from typing import TYPE_CHECKING

import click

from overnight.cli import speak
from overnight.cli.options import campaign_argument, common, opened
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.model.reports import AttemptReport, StoryLine, WhyReport

_STORY_SHOWN = 40
_TEXT_SHOWN = 400  # characters of a message; --json and the log have all of it


@click.command("why")
@campaign_argument
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--full", is_flag=True, help="The whole story, not its newest lines.")
@common
def command(campaign: str, run: str | None, full: bool, root: str | None, as_json: bool) -> int:
    """Why a campaign, or one run of it, is as it is: the sentence, the rule that decided, every attempt."""
    report = opened(campaign, root).why(run)
    if as_json:
        speak.say_json(report)
    else:
        _show(report, full)
    return 0


def _show(report: "WhyReport", full: bool) -> None:
    subject = f"{report.campaign} {report.run_id}".strip()
    speak.say(f"{speak.bold(subject)}  {speak.state(report.state)}")
    if report.words:
        speak.say_wrapped(report.words, "")
    if report.rule:
        speak.say(f"decided by: {report.rule}")
    if report.remedy:
        speak.say(f"what to do: {report.remedy}")
    if report.next:
        speak.say(f"next: {report.next}")
    if report.attempts:
        speak.say()
        speak.say(speak.bold("attempts"))
        speak.table([_attempt(attempt) for attempt in report.attempts])
        for attempt in report.attempts:
            message, evidence = attempt.message or "", attempt.evidence or ""
            for text in (evidence,) if message in evidence else (message, evidence):
                if text:
                    speak.say_wrapped(f"{attempt.n}: {text[:_TEXT_SHOWN]}{'…' if len(text) > _TEXT_SHOWN else ''}")
            if attempt.saved:
                speak.say_wrapped(
                    f"{attempt.n}: saved before its end, in attempts/{attempt.n}/evidence: {', '.join(attempt.saved)}"
                )
    if report.story:
        speak.say()
        speak.say(speak.bold("story"))
        shown = report.story if full else report.story[-_STORY_SHOWN:]
        if len(shown) < len(report.story):
            speak.say(f"  … {len(report.story) - len(shown)} earlier lines: --full")
        speak.table(
            [(line.at, _whose(line, report), line.state, line.words or line.event) for line in shown],
            painted=2,
            give=((1, 24), (3, 30)),
        )


def _whose(line: "StoryLine", report: "WhyReport") -> str:
    """`#2` of the run asked for; with the run's name in the story of a campaign."""
    attempt = f"#{line.attempt}" if line.attempt is not None else ""
    return attempt if report.run_id else f"{line.run_id} {attempt}".strip()


def _attempt(attempt: "AttemptReport") -> tuple[str, ...]:
    end = attempt.state
    if attempt.state == "ended":
        how = f"exit {attempt.exit_code}" if attempt.exit_code is not None else (attempt.signal or "")
        by = "" if attempt.ended_by in {None, "itself"} else f"ended by {attempt.ended_by}"
        end = ", ".join(part for part in (how, by) if part) or "ended"
    return (
        f"#{attempt.n}",
        end,
        duration(attempt.seconds),
        attempt.slot,
        attempt.failure_class or "",
        attempt.rule or "",
        f"from {attempt.resumed_from.rpartition('/')[2]}" if attempt.resumed_from else "",
        " ".join(attempt.flags),
    )
