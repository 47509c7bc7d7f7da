"""The command's door. `--version` is answered before anything else is imported."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from overnight import __version__

        sys.stdout.write(f"overnight {__version__}\n")
        return 0
    from overnight.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
