"""Failures that real software prints, through the whole product, and what it made of them."""

from pathlib import Path

from cases import SUCCEEDED, Case
from conftest import Night

OUTAGES = {"network", "disk.io"}  # tried again for a while, uncounted


def test_class_and_evidence(night: Night, case: Case) -> None:
    """Guards against rules that fit the examples that they were written with, and not what software prints today."""
    summary = night.summary(case.name)
    said = night.log(case.name, len(summary["attempts"]))
    classes = [attempt["class"] for attempt in summary["attempts"]]
    if case.found == SUCCEEDED:
        assert (summary["state"], summary["failure"]) == ("succeeded", None), said
        assert classes == [*case.before, None]
        return
    failure = summary["failure"]
    assert failure["class"] == case.found, f"{failure}\n{said}"
    assert set(classes) == {case.found}
    assert len(classes) == 1 or case.found in OUTAGES
    assert not case.rule or failure["rule"] == case.rule
    assert set(case.consequences) <= set(failure["consequences"]), f"{failure}\n{said}"
    assert case.found not in failure["consequences"]
    assert night.runs[case.name]["class"] == case.found
    if case.evidence:
        evidence = failure["evidence"]
        assert case.evidence in evidence["text"], f"{evidence}\n{said}"
        if evidence["line"] is not None:
            assert evidence["file"].startswith(f"attempts/{len(classes)}/")
            lines = night.file(case.name, evidence["file"]).splitlines()
            assert evidence["text"][:60] in lines[evidence["line"] - 1]


def test_nothing_is_left_of_the_night(night: Night) -> None:
    """Guards against a worker, a loader or a hung rank that outlives its attempt and holds memory until the morning."""
    assert night.runs
    assert [pid for pid in night.ground.processes() if b"programs/" in _words(pid)] == []


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""
