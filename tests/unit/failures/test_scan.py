"""The scanner on logs that are large, broken, hostile or still growing."""

import io
import os
import threading
import time
from pathlib import Path

import pytest

from overnight.failures import Outcome, classify, load_rules
from overnight.failures.lines import MILD, PROGRESS, SURVIVED, clean, shows_completion
from overnight.failures.matcher import LARGE_BYTES, _find_each, finder
from overnight.failures.rules import RULES_DIR, read_examples
from overnight.failures.scan import BLOCK_BYTES, KEEP, scan
from overnight.failures.source import Source

OOM = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
FAILED = Outcome(exit_code=1)


@pytest.mark.parametrize("shift", [-80, -40, -1, 0, 1, 40])
def test_a_root_on_the_border_of_two_blocks_is_found_once(shift: int) -> None:
    """A line cut by a block's end was neither here nor there."""
    filler = b"x" * 99 + b"\n"
    before = filler * ((BLOCK_BYTES + shift) // 100) + b"y" * ((BLOCK_BYTES + shift) % 100 - 1) + b"\n"
    with Source(before + OOM + filler * 50) as source:
        events = scan(source, load_rules()).events
        assert [event.rule.name for event in events] == ["torch-cuda-oom"]
        assert source.line_number(events[0].offset) == before.count(b"\n") + 1


def test_a_root_in_the_middle_of_a_long_log_is_found_and_its_line_counted() -> None:
    """Head and tail alone are not enough: what followed the root filled the rest of the log."""
    filler = b"12.3 4.5 nothing to see here, move along please\n" * 60_000
    found = classify(filler + OOM + filler, FAILED)
    assert found.name == "oom.gpu"
    assert found.evidence is not None and found.evidence.line == 60_001


def test_one_endless_line_with_a_root_in_it() -> None:
    """A progress bar without newlines wrote 20 MB as one line."""
    found = classify(b"#" * 10_000_000 + OOM.strip() + b"#" * 10_000_000, FAILED)
    assert found.name == "oom.gpu"
    assert found.evidence is not None and len(found.evidence.text) <= 500


def test_carriage_returns_end_lines() -> None:
    """A bar redrawn by carriage returns hid the error between two of its states."""
    bar = b"".join(b"\r %d%%| %d/100 [00:01<00:09, 1.0it/s]" % (n, n) for n in range(40))
    found = classify(bar + b"\r" + OOM.replace(b"\n", b"\r"), FAILED)
    assert found.name == "oom.gpu"
    assert found.evidence is not None and found.evidence.text == OOM.decode().strip()


def test_nul_bytes_invalid_utf8_and_colours() -> None:
    """A log copied from a crashed host ends in NULs; a library printed Latin-1."""
    found = classify(b"\xff\xfe\x00bad\xe9\n\x1b[1m\x1b[31m" + OOM.strip() + b"\x1b[0m\n" + b"\x00" * 4096, FAILED)
    assert found.name == "oom.gpu"


@pytest.mark.parametrize(
    "prefix",
    [
        "[rank3]: ", "[default3]:", "3: ", "[1,3]<stderr>:", "(TrainWorker pid=4242, ip=10.0.0.3) ", "worker-3 | ",
        "2024-05-01T10:00:00.123456789Z stderr F ", "[2024-05-01 10:00:00,123] ", "2024-05-01 10:00:00.123 ",
        "E0517 08:24:03.805000 140617718325696 torch/distributed/x.py:826] ", "[rank3]: 2024-05-01 10:00:00,123 ",
        "[10:00:00] ", "job-worker-3: ",
    ],
)  # fmt: skip
def test_what_launchers_and_loggers_put_before_a_line_is_taken_off(prefix: str) -> None:
    """The same traceback was `code` with one launcher and `unknown` with another."""
    lines = ["Traceback (most recent call last):", '  File "t.py", line 1, in <module>', "    f()", "KeyError: 'x'"]
    found = classify("".join(f"{prefix}{line}\n" for line in lines).encode(), FAILED)
    assert (found.name, found.message) == ("code", "KeyError: 'x'")


def test_a_growing_log_is_read_as_it_was_when_opened(tmp_path: Path) -> None:
    """A writer that is faster than the reader must not keep it for ever."""
    log = tmp_path / "output.log"
    log.write_bytes(OOM)
    with Source(log) as source, log.open("ab") as file:
        file.write(b"more\n" * 1000)
        file.flush()
        assert source.size == len(OOM)
        assert source.read_at(0, 10_000) == OOM


def test_a_log_cut_while_it_is_read_ends_the_reading(tmp_path: Path) -> None:
    """A mapped file that is truncated kills its reader; a read one just ends."""
    log = tmp_path / "output.log"
    log.write_bytes(b"line\n" * 1_000_000)
    with Source(log) as source:
        os.truncate(log, 5)
        assert scan(source, load_rules()).events == []
        assert source.line_number(4_000_000) == 2


def test_a_pipe_can_be_classified() -> None:
    """`zcat old.log.gz | overnight classify -` has no positions."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(b"line\n" * 100_000 + OOM)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as file:
        found = classify(file, FAILED)
    writer.join()
    assert found.name == "oom.gpu"
    assert found.evidence is not None and found.evidence.line == 100_001


def test_a_file_object_stays_open() -> None:
    """The caller's file is the caller's."""
    file = io.BytesIO(OOM)
    assert classify(file, FAILED).name == "oom.gpu"
    assert not file.closed


def test_memory_is_bounded_by_rules_not_by_lines() -> None:
    """A retry loop printed the same error two million times."""
    with Source(b"ConnectionResetError: [Errno 104] Connection reset by peer\n" * 5000) as source:
        assert len(scan(source, load_rules()).events) <= 2 * KEEP


def test_a_storm_of_warnings_hides_neither_a_root_in_it_nor_the_end() -> None:
    """A million retries, no two alike, cost a minute; looking at fewer of them must not lose what they surround."""
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    storm = "".join(f"WARNING: Retrying after ConnectionError: /objects/{w}{v}\n" for w in words for v in words[:100])
    assert classify(storm.encode() + OOM + storm.encode(), FAILED).name == "oom.gpu"
    last = b"requests.exceptions.ConnectionError: HTTPSConnectionPool(host='a', port=443): Max retries exceeded\n"
    trace = b'Traceback (most recent call last):\n  File "t.py", line 1, in f\n    get()\n'
    found = classify(storm.encode() + trace + last, FAILED)
    assert (found.name, found.evidence and found.evidence.line) == ("network", storm.count("\n") + 4)


def test_all_matchers_find_the_same() -> None:
    """Where the fast library is not installed, only the speed may differ."""
    literals = load_rules().literals
    texts = [
        text for path in RULES_DIR.glob("*.toml") for entry in read_examples(path).values() for text in entry.match
    ]
    block = "\n".join(texts).encode()
    found = sorted(_find_each(literals, block))
    assert sorted(finder(literals, len(block))(block)) == found
    assert sorted(finder(literals, LARGE_BYTES)(block)) == found


@pytest.mark.parametrize(
    "hostile",
    ["a" * 4096, "a:" * 2048, " " * 4096, "a " * 2048, "0" * 4096, "error " * 680, "[" * 4096, "a.b" * 1360, "/" * 4096,
     "Error: " * 580, "x=1, " * 800, "not a valid " * 340, "-" * 4096, "nan loss " * 450],
)  # fmt: skip
def test_no_pattern_backtracks_without_end(hostile: str) -> None:
    """One line of a user's data froze a supervisor's turn."""
    for rule in load_rules().rules:
        for literal in rule.find[:3]:
            text = f"{hostile[:2000]}{literal.decode()}{hostile[:2000]}"
            began = time.thread_time()
            rule.matches(text)
            rule.fits(text)
            assert time.thread_time() - began < 0.25, (rule.name, literal)
    began = time.thread_time()
    clean(hostile.encode())
    SURVIVED.search(hostile)
    MILD.match(hostile)
    shows_completion(hostile)
    list(PROGRESS.finditer(hostile.encode()))
    assert time.thread_time() - began < 0.25


def test_further_logs_are_looked_at_and_named(tmp_path: Path) -> None:
    """torchrun sent the failing rank's stderr to a file of its own."""
    rank = tmp_path / "stderr.log"
    rank.write_bytes(b"fine\n" + OOM)
    found = classify(
        b"torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n", FAILED, files=[("rank3", rank)]
    )
    assert found.name == "oom.gpu"
    assert found.evidence is not None
    assert (found.evidence.file, found.evidence.line) == ("rank3", 2)


ABORTED = (
    b"E1125 20:37:54.767000 60 api.py:1002] failed (exitcode: -6) local_rank: 1 (pid: 61) of binary: /venv/bin/python\n"
)
LOST = b"""[rank0]: Traceback (most recent call last):
[rank0]:   File "/code/ranks.py", line 44, in main
[rank0]:     loss.backward()
[rank0]: RuntimeError: [third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:5
"""
RAISED = b"""[rank1]: Traceback (most recent call last):
[rank1]:   File "/code/ranks.py", line 22, in fail
[rank1]:     raise ValueError("label 11 is not among 10 classes")
[rank1]: ValueError: label 11 is not among 10 classes
"""
OWN_ABORT = b"""Fatal Python error: Aborted

Current thread 0x00007f4ab01e8b80 (most recent call first):
  File "/work/ranks.py", line 30 in fail
"""
GOING = b"terminate called without an active exception\n"


@pytest.mark.parametrize(
    ("ranks", "found"),
    [
        ((LOST, RAISED + GOING), "code"),
        ((LOST + GOING, RAISED), "code"),
        ((LOST, b"terminate called after throwing an instance of 'std::bad_variant_access'\n"), "crash"),
        ((LOST, b""), "crash"),
        ((LOST + GOING, LOST), "nccl.error"),
        ((LOST + GOING, b"step 1\n" + OWN_ABORT), "crash"),
        ((LOST + OWN_ABORT, LOST + GOING), "nccl.error"),
    ],
)
def test_a_launchers_word_for_an_end_comes_after_what_the_worker_said(
    tmp_path: Path, ranks: tuple[bytes, ...], found: str
) -> None:
    """The threads of a communication library abort a process that is on its way out: the launcher saw nothing else."""
    logs = [(f"rank{n}", tmp_path / f"{n}.log") for n in range(len(ranks))]
    for (_, path), text in zip(logs, ranks, strict=True):
        path.write_bytes(text)
    assert classify(ABORTED, FAILED, files=logs).name == found


def test_a_rank_that_waited_is_asked_after_the_one_that_never_came(tmp_path: Path) -> None:
    """Rank 0's log comes first and tells of a time-out; rank 1 could not import its program ten minutes before."""
    waited = tmp_path / "0.log"
    waited.write_bytes(
        b"Traceback (most recent call last):\n"
        b'  File "/work/train.py", line 30, in <module>\n'
        b"torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.\n"
    )
    absent = tmp_path / "1.log"
    absent.write_bytes(
        b"Traceback (most recent call last):\n"
        b'  File "/work/train.py", line 3, in <module>\n'
        b"ModuleNotFoundError: No module named 'fused'\n"
    )
    logs = [("rank0", waited), ("rank1", absent)]
    assert classify(b"", FAILED, files=logs).name == "import"
    assert classify(b"", FAILED, files=logs[:1]).name == "rendezvous"


@pytest.mark.parametrize(
    "word",
    [
        b"srun: error: n3: task 3: Segmentation fault (core dumped)\n",
        b"mpirun noticed that process rank 3 with PID 0 on node n3 exited on signal 11 (Segmentation fault).\n",
    ],
)
def test_a_task_that_crashed_on_its_way_out_is_asked_first(tmp_path: Path, word: bytes) -> None:
    """The rank ran out of memory and crashed while it left; its launcher saw the signal alone."""
    rank = tmp_path / "3.log"
    rank.write_bytes(b'Traceback (most recent call last):\n  File "train.py", line 7, in <module>\n' + OOM)
    assert classify(word, FAILED, files=[("rank3", rank)]).name == "oom.gpu"
    assert classify(word, FAILED).name == "crash"


def test_a_worker_that_nobody_of_ours_killed_was_killed_by_somebody(tmp_path: Path) -> None:
    """torchrun saw the worker first that had only lost its peer, and blamed it for what a killer did."""
    rank = tmp_path / "0.log"
    rank.write_bytes(LOST + GOING)
    table = b"Failures:\n[1]:\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 62)  (SIGKILL)\n"
    first = ABORTED.replace(b"local_rank: 1", b"local_rank: 0")
    found = classify(first + table, FAILED, files=[("rank0", rank)])
    assert (found.name, found.rule) == ("unknown", "other-worker-killed")
    ended = b"W1125 20:37:54.700000 60 api.py:900] Sending process 62 closing signal SIGTERM\n"
    assert classify(ended + first + table, FAILED, files=[("rank0", rank)]).name == "nccl.error"
