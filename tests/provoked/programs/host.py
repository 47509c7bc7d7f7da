"""What the host does to a process: `host.py FAULT [ARGUMENT]`. Standard library and numpy."""

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

MIB = 2**20


def segfault(_: str) -> None:
    ctypes.string_at(0)


def abort(_: str) -> None:
    os.abort()


def memory(_: str) -> None:
    """Until the address space that `ulimit -v` allows is used up."""
    import numpy

    kept = []
    for step in range(100):
        kept.append(numpy.ones(32 * MIB))
        print(f"step {step} loss 0.5", flush=True)


def cgroup(folder: str) -> None:
    """Joins a memory cgroup that allows 64 MiB, and wants more."""
    own = Path(folder)
    own.mkdir(exist_ok=True)
    limit = next(own / name for name in ("memory.max", "memory.limit_in_bytes") if (own / name).exists())
    limit.write_text(str(64 * MIB))
    (own / "cgroup.procs").write_text(str(os.getpid()))
    kept = []
    for step in range(100):
        kept.append(bytearray(os.urandom(MIB) * 16))
        print(f"step {step} loss 0.5", flush=True)


def files(_: str) -> None:
    """More files than are allowed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    kept = [open(os.devnull) for _ in range(100)]
    print(len(kept))


def disk(folder: str) -> None:
    """Writes until there is no room."""
    with Path(folder, "tokens.bin").open("wb") as file:
        for step in range(1000):
            file.write(os.urandom(MIB))
            file.flush()
            print(f"step {step}", flush=True)


def file_size(folder: str) -> None:
    """Writes beyond `ulimit -f`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    disk(folder)


def temporary(_: str) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")


def library(_: str) -> None:
    ctypes.CDLL("libcudnn_of_another_release.so.42")


def module(_: str) -> None:
    import flash_attention_of_another_release

    print(flash_attention_of_another_release)


def data(path: str) -> None:
    print(len(Path(path).read_bytes()))


def array(folder: str) -> None:
    """A data file of which the second half was never copied."""
    import numpy

    path = Path(folder, "tokens.npz")
    numpy.savez(path, tokens=numpy.zeros(10_000))
    path.write_bytes(path.read_bytes()[:20_000])
    print(numpy.load(path)["tokens"].sum())


def read_only(folder: str) -> None:
    Path(folder, "log.txt").write_text("step 0")


def child(_: str) -> None:
    """A launcher of one's own around the program that fails."""
    subprocess.run([sys.executable, __file__, "zero"], check=True)


def zero(_: str) -> None:
    print("step 0 loss 0.5", flush=True)
    print(1 / len([]))


def threads(_: str) -> None:
    """A loader thread dies, and the program says so itself."""
    failed = []

    def load() -> None:
        try:
            data("/nonexistent/shard-0.tar")
        except OSError as cause:
            failed.append(cause)

    loader = threading.Thread(target=load)
    loader.start()
    loader.join()
    raise RuntimeError("the loader's thread has died") from failed[0]


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](sys.argv[2] if len(sys.argv) > 2 else "")
