"""A machine that is taken away at a known time."""

import json

from campaign_world import Ground, ground, lines

__all__ = ["ground"]

SAVES = (
    "trap 'echo saved >> saves; sleep 0.3; echo 41 > $OVERNIGHT_OUT_DIR/ckpt-41; exit 0' TERM; "
    "while [ ! -e go ]; do sleep 0.05; done"
)


def test_what_lives_is_saved_and_goes_on_another_night(ground: Ground) -> None:
    """The Slurm job ended at 06:00 with everything in it; the checkpoint of 05:58 would have been worth two hours.

    The deadline is five minutes and six seconds away: attempts are told in a moment."""
    rows = ground.file("rows.csv", "run_id\na\nb\n")
    file = ground.file(
        "night.toml",
        f"""
name = "night"
command = ["sh", "-c", {json.dumps(SAVES)}]
runs = "{rows}"
[limits]
deadline = "306s"
[checkpoint]
path = "{{out_dir}}/ckpt-*"
""",
    )
    waited = ground.overnight("launch", file, "--wait", "--json", code=1)
    document = waited.document
    campaign = document["campaign"]
    assert (document["state"], document["counts"]) == ("held", {"held": 2})
    assert lines(ground.work / "saves") == ["saved"]  # b was not begun in vain
    assert document["deadline_at"] is not None
    needs = document["needs"][0]
    assert "deadline" in needs["what"] and needs["command"] == f"overnight resume {campaign}"
    ground.file("go", "")
    ground.overnight("amend", campaign, "--set", "limits.deadline=12h")
    final = ground.overnight("watch", campaign, "--json", code=0).document
    first = ground.summary(campaign, "a")
    assert [each["ended_by"] for each in first["attempts"]] == ["deadline", "itself"]
    assert first["state"] == "succeeded" and first["attempts"][1]["resumed_from"].endswith("ckpt-41")
    assert final["counts"] == {"succeeded": 2}
