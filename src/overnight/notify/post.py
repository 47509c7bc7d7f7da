"""One web request, run as a program of its own by `-c`: only the standard library, nothing of ours.

Reads {"url", "body", "headers", "seconds"} as JSON; body null: a GET. Exit code 0 for an answer of 2xx; else words
on its output. The address is not among them: it may hold a token.
"""

import http.client
import json
import sys
import urllib.error
import urllib.request


class _Stay(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected would arrive as a GET, without its body: said instead."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def main() -> int:
    order = json.load(sys.stdin)
    body = order["body"]
    opener = urllib.request.build_opener(*([] if body is None else [_Stay]))
    try:
        request = urllib.request.Request(order["url"], None if body is None else body.encode(), order["headers"])
        with opener.open(request, timeout=order["seconds"]):
            return 0
    except urllib.error.HTTPError as error:
        where = error.headers.get("Location") if 300 <= error.code < 400 else None
        sys.stdout.write(
            f"answered {error.code} {error.reason}" + (", a redirection: write that address" if where else "")
        )
    except urllib.error.URLError as error:
        sys.stdout.write(f"not reached: {error.reason}")
    except OSError as error:
        sys.stdout.write(f"not reached: {error}")
    except (http.client.HTTPException, ValueError) as error:  # their words may hold the address
        sys.stdout.write(f"no answer that is HTTP, or no address that can be called: {type(error).__name__}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
