"""A web server on this machine that answers as told."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """`answers`: a status, `"drip"` (never done), `"hang"` or `"nonsense"`, one a request; the last goes on. `heard`:
    what came."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.heard: list[dict[str, Any]] = []
        self.over = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                web.heard.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
                self.answer()

            def do_GET(self) -> None:
                web.heard.append({"path": self.path, "headers": dict(self.headers), "body": None})
                self.answer()

            def answer(self) -> None:
                answer = web.answers.pop(0) if len(web.answers) > 1 else web.answers[0]
                if answer == "hang":
                    web.over.wait(60)
                    return
                if answer == "nonsense":
                    self.wfile.write(f"{self.path}\r\n\r\n".encode())
                    return
                if answer == "drip":
                    with contextlib.suppress(OSError):
                        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                        while not web.over.wait(0.05):
                            self.wfile.write(b"X")
                    return
                self.send_response(int(answer))
                if 300 <= int(answer) < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=SECRET"

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Until so many requests have come."""
        until = time.monotonic() + seconds
        while len(self.heard) < count:
            assert time.monotonic() < until, self.heard
            self.over.wait(0.02)


@contextlib.contextmanager
def web(*answers: int | str) -> Iterator[Web]:
    """A server that is gone afterwards."""
    made = Web(*answers)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        made.server.shutdown()
        made.server.server_close()
