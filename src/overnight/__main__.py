"""The command's door. `--version` is answered before anything else is imported."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from overnight import __version__

        sys.stdout.write(f"overnight {__version__}\n")
        return 0
    import gc

    gc.disable()  # a few tens of milliseconds leave no garbage worth a tenth of them; what waits turns it on again
    from overnight.cli.app import run

    code = run(sys.argv[1:])
    if "coverage" not in sys.modules:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """Without taking the interpreter apart, which costs a fifth of `status`. Everything has been written and
    flushed, and a command holds nothing: what it asked for is a file, what it started is somebody else's child."""
    import os

    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
