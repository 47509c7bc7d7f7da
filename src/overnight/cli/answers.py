"""What the supervisor said to a request, shown."""

from typing import TYPE_CHECKING

from overnight.cli import speak

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.requests import Answer


def show(campaign: "Campaign", answer: "Answer", as_json: bool) -> int:
    """Print the answer; returns the exit code."""
    if as_json:
        speak.say_json(
            {
                "campaign": answer.campaign or campaign.id,
                "message": answer.message,
                "hint": answer.hint,
                "details": list(answer.details),
            }
        )
        return 0
    speak.say(f"{campaign.id}: {answer.message or 'done'}")
    for line in answer.details:
        speak.say(f"  {line}")
    if answer.hint:
        speak.tell(f"hint: {answer.hint}")
    return 0
