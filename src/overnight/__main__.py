"""The command's door. `--version` is answered before anything else is imported."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from overnight import __version__

        sys.stdout.write(f"overnight {__version__}\n")
        return 0
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _hold_standard_streams()
    import gc

    gc.disable()  # a few tens of milliseconds leave no garbage worth a tenth of them; what waits turns it on again
    from overnight.cli.app import run

    code = run(sys.argv[1:])
    if "coverage" not in sys.modules:
        _leave(code)
    return code


def _hold_standard_streams() -> None:
    """A closed stdin, stdout or stderr (`>&-`) is taken for one to nowhere: else the next file that is opened, perhaps
    the database, would get its number and whatever is said."""
    import os

    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")


def _leave(code: int) -> None:
    """Without taking the interpreter apart, which costs a fifth of `status`. Everything has been written and
    flushed, and a command holds nothing: what it asked for is a file, what it started is somebody else's child."""
    import os

    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
