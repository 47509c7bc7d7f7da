"""An HTTP service on this machine that refuses, fails, or hangs, as its path says."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAILS_FIRST = 1  # requests for /passes that are answered 503


class Service(ThreadingHTTPServer):
    """Counts what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: Counter[str] = Counter()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        word = self.path.split("/")[1]
        self.server.asked[word] += 1
        if word == "hangs":
            self.server.closing.wait()
        status = {"private": 401, "forbidden": 403, "down": 503, "absent": 404, "entry": 404}.get(word, 200)
        if word == "passes" and self.server.asked[word] <= FAILS_FIRST:
            status = 503
        body = b"fine\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if word == "entry":
            self.send_header("X-Error-Code", "EntryNotFound")  # as the hub says it, and a mirror does not
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # who has given up waiting
                self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Service]:
    """The service, until the block ends."""
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield service
        finally:
            service.closing.set()
            service.shutdown()
            thread.join()
