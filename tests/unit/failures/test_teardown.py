"""`teardown.hung`: what stacks of real processes prove, and what they do not. `stacks/` holds what py-spy printed of
them: a line `### pid name wchan exe` before each process of the tree."""

import json
import re
from pathlib import Path

import pytest

from overnight.failures import proof
from overnight.failures.stacks import of_faulthandler, of_py_spy

STACKS = Path(__file__).with_name("stacks")
SHIM = """Process 1: python shim.py
Python v3.11.7 (/usr/bin/python3.11)

Thread 1 (idle): "MainThread"
    main (shim.py:9)
"""

FAULT = """trained
Fatal Python error: Aborted

Thread 0x00007fe9d8b756c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

Current thread 0x00007fe9d99bfb80 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 1139 in _wait_for_tstate_lock
  File "/usr/lib/python3.11/threading.py", line 1119 in join
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 31 in _python_exit
  File "/usr/lib/python3.11/threading.py", line 1560 in _shutdown
"""


def evidence(name: str, **changed: object) -> dict[str, str]:
    """The evidence of one recorded tree below a shim. `changed`: of every process."""
    files = {"stacks-1.txt": SHIM}
    processes: list[dict[str, object]] = [{"pid": 1, "name": "python3", "exe": "/usr/bin/python3.11"}]
    blocks = re.split(r"^### (\d+) (\S+) (\S+) (\S+)\n", (STACKS / f"{name}.txt").read_text(), flags=re.MULTILINE)[1:]
    for pid, comm, wchan, exe, text in zip(*(blocks[at::5] for at in range(5)), strict=True):
        processes.append({"pid": int(pid), "name": comm, "wchan": wchan, "exe": exe, "state": "S", **changed})
        files[f"stacks-{pid}.txt"] = text
    return {**files, "processes.json": json.dumps({"whole": True, "processes": processes})}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("atexit_lock", "flush_metrics (atexit_lock.py)"),
        ("shutdown_thread", "_shutdown (threading.py)"),
        ("executor_exit", "_shutdown (threading.py)"),
        ("queue_exit", "_exit_function (multiprocessing/util.py)"),
        ("wandb_finish", "finish (wandb/sdk/wandb_run.py)"),
        ("destroy_process_group", "destroy_process_group (torch/distributed/distributed_c10d.py)"),
        ("cpp_destructor", "the interpreter has ended"),
        ("del_hang", "__del__ (del_hang.py)"),
        ("child_leaves", "_shutdown (threading.py)"),
    ],
)
def test_who_leaves_is_done(name: str, call: str) -> None:
    """The training was done and hung in its last line; the night was spent on training it three times more."""
    found = proof(evidence(name))
    assert found is not None and found.call == call
    assert found.file == f"stacks-{found.pid}.txt"


@pytest.mark.parametrize(
    "name",
    ["evaluation", "upload", "upload_in_thread", "upload_in_pool", "upload_in_loop", "export_in_daemon", "atexit_child",
     "child_at_work", "training_with_loader"],
)  # fmt: skip
def test_who_works_is_not_done(name: str) -> None:
    """An upload after the last step was ended, and the run called a success without its result."""
    assert proof(evidence(name)) is None


def test_one_rank_at_work_is_work() -> None:
    """Seven ranks wait in `destroy_process_group` for the eighth, which evaluates."""
    files = evidence("destroy_process_group")
    name = sorted(name for name in files if name.startswith("stacks-"))[-1]
    pid = name.removeprefix("stacks-").removesuffix(".txt")
    main = f'Thread {pid} (active): "MainThread"'
    files[name] = f"Process {pid}: python x.py\n{main}\n    forward (model.py:9)\n    <module> (x.py:1)\n"
    assert proof(files) is None


@pytest.mark.parametrize("wchan", ["0", "", "do_wait", "sk_wait_data", "hrtimer_nanosleep"])
def test_a_call_of_ones_own_at_the_end_needs_the_kernels_word(wchan: str) -> None:
    """An upload that was registered with `atexit` looks like a lock, but for what the kernel waits for."""
    assert proof(evidence("atexit_lock", wchan=wchan)) is None


@pytest.mark.parametrize(
    "change",
    [{"processes.json": ""}, {"processes.json": "{}"}, {"processes.json": '{"whole": true, "processes": []}'},
     {"processes.json": '{"whole": true, "processes": [1]}'}, {"stacks": ""}],
)  # fmt: skip
def test_without_the_whole_picture_there_is_no_proof(change: dict[str, str]) -> None:
    """The disk was full while the evidence was saved: half of it proved what the whole did not."""
    files = evidence("shutdown_thread")
    stacks = next(name for name in files if name.startswith("stacks-") and name != "stacks-1.txt")
    for name, text in change.items():
        files[stacks if name == "stacks" else name] = text
    assert proof(files) is None
    whole = json.loads(evidence("shutdown_thread")["processes.json"])
    assert proof({**evidence("shutdown_thread"), "processes.json": json.dumps({**whole, "whole": False})}) is None


@pytest.mark.parametrize(("name", "exe", "proven"), [
    ("rsync", "/usr/bin/rsync", False), ("aws", "/opt/aws/aws", False), ("bash", "/usr/bin/bash", True),
    ("wandb-core", "/x/wandb-core", True),
])  # fmt: skip
def test_a_program_whose_work_is_not_seen_is_work(name: str, exe: str, proven: bool) -> None:
    """The command's last line was `rsync … &`: its Python had ended, the copy had not."""
    files = evidence("shutdown_thread")
    document = json.loads(files["processes.json"])
    document["processes"].append({"pid": 9, "name": name, "exe": exe, "state": "S"})
    document["processes"].append({"pid": 10, "name": "curl", "exe": "", "state": "Z"})
    document["processes"].append({"pid": 11, "gone": True})
    assert (proof({**files, "processes.json": json.dumps(document)}) is not None) is proven


def test_an_interpreter_that_py_spy_does_not_know_proves_nothing() -> None:
    """A Python newer than py-spy has no interpreter either, by its words."""
    files = evidence("cpp_destructor", exe="/opt/python3.99/bin/python3.99")
    assert proof(files) is None


def test_faulthandler_speaks_where_py_spy_may_not() -> None:
    """In a container without ptrace there were no stacks but those that the abort printed."""
    files = {name: text for name, text in evidence("executor_exit").items() if not name.startswith("stacks-")}
    found = proof(files, FAULT)
    assert found is not None and (found.call, found.file) == ("_shutdown (threading.py)", "output.log")
    assert proof(files, FAULT + FAULT) is None  # two processes: whose is which?
    assert proof(files, FAULT.replace("1560 in _shutdown", "9 in <module>")) is not None  # `_python_exit` is named
    assert proof(files, FAULT.replace("327 in wait", "7 in sendall")) is None
    assert proof(files, "trained\n") is None


def test_stacks_are_read_as_they_are_printed() -> None:
    """A frame without a line number, a thread without a name, a path with brackets."""
    frames = "    C.run (x/c.py:3)\n    f (d.py)\n"
    dump = of_py_spy(f'Process 7: python (1) x.py\nThread 7 (idle)\n{frames}Thread 0x7F01 (active+gil): "a "b""\n')
    assert dump is not None and dump.main is not None
    assert [str(frame) for frame in dump.main.frames] == ["run (x/c.py)", "f (d.py)"]
    assert dump.threads[1].name == 'a "b"'
    assert of_py_spy("Error: Permission denied\n") is None
    (fault,) = of_faulthandler(FAULT)
    assert [thread.main for thread in fault.threads] == [False, True]
    assert str(fault.threads[1].frames[2]) == "_python_exit (concurrent/futures/thread.py)"
