"""One message through Apprise, run as a program of its own by `-c`: Apprise takes a second to import.

Reads {"url", "title", "body"} as JSON. Exit code 0 when it was taken.
"""

import json
import sys


def main() -> int:
    order = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        sys.stdout.write('Apprise is not installed: pip install "overnight[notify]"')
        return 1
    channel = apprise.Apprise()
    if not channel.add(order["url"]):
        sys.stdout.write("Apprise does not know this kind of address")
        return 1
    if not channel.notify(title=order["title"], body=order["body"]):
        sys.stdout.write("Apprise could not deliver it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
