"""Whether the stacks of a silent attempt prove that its program is done and cannot end.

Work after the last step is work: in doubt there is no proof. Proven is that of all its processes, each Python's main
thread either leaves (the interpreter has begun to end, or a known call that closes things down has been made) or waits
for another process of the attempt; that no other thread does anything but wait for another thread; that at least one
main thread leaves; and that none of its processes is a program whose work we cannot see.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from overnight.failures.stacks import NO_INTERPRETER, Dump, Frame, Thread, of_faulthandler, of_py_spy
from overnight.model.codec import Struct

# (function, file) of calls that programs make when they have done their work.
_LEAVING = re.compile(
    r"""(?x)
    (?:finish|_finish|_on_finish|_atexit_cleanup)\ \(wandb/sdk/wandb_run\.py\)
  | (?:teardown|_teardown|join)\ \(wandb/\S*(?:service|setup|wandb_run)\S*\)
  | (?:destroy_process_group|_shutdown_backend)\ \(torch/distributed/distributed_c10d\.py\)
  | (?:shutdown)\ \(ray/_private/worker\.py\)
  | (?:end_run|_safe_end_run)\ \(mlflow/tracking/fluent\.py\)
  | (?:end_training)\ \(accelerate/accelerator\.py\)
  | (?:_shutdown)\ \(threading\.py\)
  | (?:_exit_function|_run_finalizers)\ \(multiprocessing/util\.py\)
  | (?:_python_exit)\ \(concurrent/futures/(?:thread|process)\.py\)
  | (?:_stop|_stop_locked)\ \(multiprocessing/resource_tracker\.py\)
    """
)
# The innermost call of a thread that waits for another thread of its process, or for orders.
_WAITING = re.compile(
    r"""(?x)
    (?:wait|_wait_for_tstate_lock|join|_shutdown|_join_thread)\ \(threading\.py\)
  | (?:get)\ \(queue\.py\)
  | (?:_worker)\ \(concurrent/futures/thread\.py\)
  | (?:result)\ \(concurrent/futures/_base\.py\)
  | (?:select|poll)\ \(selectors\.py\)
  | (?:accept)\ \(socket\.py\)
  | (?:_send|_recv|_poll|wait|poll|_wait)\ \(multiprocessing/(?:connection|popen_\w+|queues|synchronize)\.py\)
  | (?:get)\ \(multiprocessing/queues\.py\)
  | \S+\ \((?:wandb/\S*|service_finalizer\.py)\)
    """
)
# Processes and threads that only wait for others, wherever they wait.
_SERVING = re.compile(
    r"""(?x)
    main\ \(multiprocessing/(?:resource_tracker|forkserver)\.py\)
  | _worker_loop\ \(torch/utils/data/_utils/worker\.py\)
  | (?:_pin_memory_loop|do_one_step)\ \(torch/utils/data/_utils/pin_memory\.py\)
  | join\ \(torch/multiprocessing/spawn\.py\)
  | _invoke_run\ \(torch/distributed/elastic/agent/server/api\.py\)
  | (?:_handle_workers|_handle_tasks|_handle_results)\ \(multiprocessing/pool\.py\)
  | \S+\ \(torch/_inductor/compile_worker/\S+\)
  | _feed\ \(multiprocessing/queues\.py\)
  | run\ \(tqdm/_monitor\.py\)
    """
)
_FOR_A_CHILD = re.compile(r"(?:_try_wait|_wait|wait|communicate|_communicate) \(subprocess\.py\)")
_BEGUN_BY = frozenset({"<module>", "_run_module_as_main", "_run_code", "_bootstrap", "_bootstrap_inner"})
_HARMLESS = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "fish", "timeout", "env", "nice", "tini", "dumb-init", "setsid", "stdbuf",
     "numactl", "wandb-core", "wandb-symon", "gpu_stats", "nvidia-smi"}
)  # fmt: skip


class Leaving(Struct, frozen=True):
    """The proof: which process, in which call, by which file of the evidence."""

    pid: int | None
    call: str
    file: str


def proof(files: Mapping[str, str], log_tail: str = "") -> Leaving | None:
    """The proof in an attempt's evidence: `files` by name (`stacks-<pid>.txt` of py-spy, `processes.json`), and the end
    of its log, where faulthandler prints. None: it may be at work."""
    try:
        described = json.loads(files.get("processes.json", ""))
        whole, processes = described["whole"], [dict(each) for each in described["processes"]]
    except (ValueError, TypeError, KeyError):
        return None
    if not whole or not processes:
        return None
    # The first one is the shim.
    living = [each for each in processes[1:] if not each.get("gone") and each.get("state") not in ("Z", "X")]
    pythons = [each for each in living if _is_python(each)]
    if any(not _is_python(each) and each.get("name") not in _HARMLESS for each in living) or not pythons:
        return None
    dumps = {dump.pid: dump for name, text in files.items() if name.startswith("stacks-") and (dump := of_py_spy(text))}
    judged = [_judge(each, dumps, files, others=len(pythons) > 1) for each in pythons]
    if None in judged:
        return _by_faulthandler(pythons, dumps, log_tail)
    return next((each for each in judged if isinstance(each, Leaving)), None)


def _is_python(process: Mapping[str, Any]) -> bool:
    exe, name = str(process.get("exe", "")), str(process.get("name", ""))
    return (exe.rsplit("/", 1)[-1] or name).startswith("python")


def _by_faulthandler(
    pythons: Sequence[Mapping[str, Any]], dumps: Mapping[int | None, Dump], tail: str
) -> Leaving | None:
    """Without py-spy: the print does not say whose it is, so it proves something of a single process alone."""
    found = of_faulthandler(tail)
    if len(pythons) != 1 or len(found) != 1 or pythons[0].get("pid") in dumps:
        return None
    call = _leaves(found[0], str(pythons[0].get("wchan", "")))
    return None if call is None else Leaving(pythons[0].get("pid"), call, "output.log")


def _judge(
    process: Mapping[str, Any], dumps: Mapping[int | None, Dump], files: Mapping[str, str], others: bool
) -> Leaving | bool | None:
    """The proof of one process, True if it only serves others, None if it may be at work."""
    pid = process.get("pid")
    name = f"stacks-{pid}.txt"
    dump = dumps.get(pid)
    if dump is None:
        gone = NO_INTERPRETER in files.get(name, "")
        seen = any(
            other.exe and other.exe == process.get("exe") for other in dumps.values()
        )  # py-spy knows this Python
        return Leaving(pid, "the interpreter has ended", name) if gone and seen else None
    call = _leaves(dump, str(process.get("wchan", "")))
    if call is not None:
        return Leaving(pid, call, name)
    main = dump.main
    serves = main is not None and (
        _any(_SERVING, main.frames) or (others and _FOR_A_CHILD.match(str(_innermost(main))))
    )
    return True if serves and _rest_waits(dump) else None


def _leaves(dump: Dump, wchan: str) -> str | None:
    """The call in which the main thread leaves; None if it does not, or if something else is at work."""
    main = dump.main
    if main is None or not _rest_waits(dump):
        return None
    if not main.frames:
        return "the interpreter has ended"
    innermost, outermost = main.frames[0], main.frames[-1]
    call = next((frame for frame in reversed(main.frames) if _LEAVING.match(str(frame))), None)
    ending = outermost.function not in _BEGUN_BY and not any(frame.function == "<module>" for frame in main.frames)
    if call is None and not ending:
        return None
    if _WAITING.match(str(innermost)) or innermost == call or _LEAVING.match(str(innermost)):
        return str(call or outermost)
    # A call of its own, registered for the end or a destructor: it may send something, or wait for a lock for ever.
    return str(call or outermost) if wchan.startswith("futex") else None


def _rest_waits(dump: Dump) -> bool:
    """Whether every thread but the main one waits for another thread, or for orders."""
    return all(thread.main or _waits(thread) for thread in dump.threads)


def _waits(thread: Thread) -> bool:
    if not thread.frames or _any(_SERVING, thread.frames):
        return True
    files = [frame.file for frame in thread.frames]
    if any(file.startswith("asyncio/") for file in files) and not any("wandb" in file for file in files):
        return False  # an event loop may be sending all the while
    return _WAITING.match(str(thread.frames[0])) is not None


def _innermost(thread: Thread) -> Frame | None:
    return thread.frames[0] if thread.frames else None


def _any(pattern: re.Pattern[str], frames: Iterable[Frame]) -> bool:
    return any(pattern.match(str(frame)) for frame in frames)
