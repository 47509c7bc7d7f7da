"""What is known without a log: the supervisor's deeds, the scheduler's word, a failed start, an exit status."""

import errno
import json
from pathlib import Path

import pytest

from overnight.failures import ElasticError, Outcome, classify, explain, load_rules
from overnight.failures.document import document
from overnight.failures.known import _SCHEDULER, _START
from overnight.failures.rules import RuleFault, read_rules
from overnight.model.classes import CLASSES, Evidence

OOM = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"


@pytest.mark.parametrize(
    ("outcome", "name", "rule"),
    [
        (Outcome(ended_by="stall", stall="stall.startup", signal="SIGKILL"), "stall.startup", "supervisor-stall"),
        (Outcome(ended_by="timeout", timeout="timeout.wall"), "timeout.wall", "supervisor-timeout"),
        (Outcome(ended_by="cancel", exit_code=0), "cancelled", "supervisor-cancel"),
        (Outcome(ended_by="pause", exit_code=143), "cancelled", "supervisor-pause"),
        (Outcome(ended_by="deadline", exit_code=0), "timeout.host", "supervisor-deadline"),
        (Outcome(ended_by="lost"), "node.lost", "supervisor-lost"),
        (Outcome(start_error="No such file", start_errno=errno.ENOENT), "config", "supervisor-start"),
        (Outcome(start_error="Input/output error", start_errno=errno.EIO), "disk.io", "supervisor-start"),
        (Outcome(exit_code=1, free_inodes=3), "disk.full", "supervisor-free-space"),
        (Outcome(signal="9"), "unknown", "signal"),
        (Outcome(exit_code=-11), "crash", "signal"),
        (Outcome(exit_code=135), "shm", "signal"),
        (Outcome(exit_code=143), "unknown", "signal"),
        (Outcome(exit_code=124), "unknown", "exit-code"),
        (Outcome(exit_code=1), "unknown", "exit-code"),
        (Outcome(exit_code=0), "none", None),
        (Outcome(scheduler_state="CANCELLED by 1000"), "cancelled", "scheduler-state"),
        (Outcome(scheduler_state="OUT_OF_ME+", exit_code=1), "oom.host", "scheduler-state"),
        (Outcome(scheduler_state="DeadlineExceeded", exit_code=143), "timeout.host", "scheduler-state"),
        (Outcome(scheduler_state="PREEMPTED", exit_code=0), "preempted", "scheduler-state"),
        (Outcome(scheduler_state="FAILED", exit_code=1), "unknown", "exit-code"),
        (Outcome(scheduler_state="a word nobody knows", exit_code=1), "unknown", "exit-code"),
    ],
)  # fmt: skip
def test_what_is_known_is_not_guessed(outcome: Outcome, name: str, rule: str | None) -> None:
    """A stall that we ended ourselves was classed by the last words of the run we killed."""
    found = classify(b"step 1\nstep 2\n", outcome)
    assert (found.name, found.rule) == (name, rule)
    assert found.message or name == "none"


def test_a_stalled_runs_log_explains_it_in_the_message() -> None:
    """A rank ran out of memory, the others hung, we ended them: the person must read both."""
    found = classify(OOM, Outcome(ended_by="stall", stall="stall.output", signal="SIGKILL"))
    assert found.name == "stall.output"
    assert "CUDA out of memory" in found.message
    assert found.consequences == ("oom.gpu",)


def test_the_tables_name_classes_that_exist() -> None:
    """A class with a typing error reaches the retry table and fails there, at night."""
    assert {*_SCHEDULER.values(), *_START.values()} <= set(CLASSES)


def test_elastic_error_files_are_read_in_the_order_of_their_time() -> None:
    """The launcher's first file was not that of the rank that failed first."""

    def entry(words: str, stamp: str) -> str:
        stack = f'Traceback (most recent call last):\n  File "t.py", line 1, in f\n{words}\n'
        return json.dumps({"message": {"message": words, "extraInfo": {"py_callstack": stack, "timestamp": stamp}}})

    files = (entry("KeyError: 'late'", "200"), entry("ValueError: early", "100"), "{torn", '{"message": 3}')
    told = tuple(ElasticError(f"{place}/error.json", text) for place, text in enumerate(files))
    found = classify(b"", Outcome(exit_code=1, elastic_errors=told))
    assert (found.name, found.message) == ("code", "ValueError: early")
    assert found.evidence == Evidence(file="1/error.json", line=None, text="ValueError: early")
    assert classify(OOM, Outcome(exit_code=1, elastic_errors=told)).name == "oom.gpu"  # its own log speaks first


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ("Process 4242 has 60.13 GiB memory in use. Including non-PyTorch memory, this process has 17.00 GiB", True),
        ("Including non-PyTorch memory, this process has 77.00 GiB memory in use.", False),
        ("Process 4242 has 4.13 MiB memory in use. Including non-PyTorch memory, this process has 17.00 GiB", False),
        ("Process 4242 has 77.13 GiB memory in use. Of the allocated memory 76 GiB is allocated by PyTorch", False),
    ],
)
def test_memory_that_somebody_else_holds_is_flagged(told: str, flags: bool) -> None:
    """A colleague's notebook held the GPU for an hour; the run was final, and would have fitted an hour later."""
    log = f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79 GiB. {told}\n"
    found = classify(log.encode(), Outcome(exit_code=1))
    assert (found.name, found.flags) == ("oom.gpu", ("gpu.shared",) if flags else ())


def test_explain_lists_every_match() -> None:
    """Whoever writes a rule must see what else spoke."""
    told = explain(b"step 1\n" + OOM + b"Aborted (core dumped)\n", Outcome(exit_code=1))
    assert [(match.line, match.rule, match.survived) for match in told] == [
        (2, "torch-cuda-oom", False),
        (3, "aborted", False),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[x]\nclass = "oom.gpuu"\nfind = ["abc"]\n', "no such class: oom.gpuu"),
        ('[x]\nclass = "oom.gpu"\nfind = ["ab"]\n', "at least three characters"),
        ('[x]\nclass = "oom.gpu"\nfind = ["abc"]\nrole = "boss"\n', "no such role: boss"),
        ('[x]\nclass = "oom.gpu"\nfind = ["abc"]\nwieght = 3\n', "wieght"),
    ],
)
def test_a_bad_rule_is_refused_by_file_and_name(tmp_path: Path, text: str, words: str) -> None:
    """A misspelt key was ignored, and the rule never won."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RuleFault, match=words) as caught:
        read_rules(path)
    assert "mine.toml: rule x" in str(caught.value)


def test_rules_are_loaded_once() -> None:
    """A night of ten thousand failures read the files ten thousand times."""
    assert load_rules() is load_rules()


def test_the_reference_page_is_the_rules_own() -> None:
    """A page written by hand named classes that were gone."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "failure-classes.md"
    assert page.read_text("utf-8") == document(), "run: python -m overnight.failures.document > " + str(page)
