"""Trains with a total that is known, then sends its result to a slow server, 200 kB/s, without a word."""

import http.client
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

STEPS, SIZE, RATE = 300, 8_000_000, 200_000


class Slow(BaseHTTPRequestHandler):
    """Takes what is sent as slowly as a busy bucket."""

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, RATE // 10)))
            time.sleep(0.1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Silent."""


def main(out: Path) -> None:
    for step in range(1, STEPS + 1):
        loss = sum(1 / (step + n) for n in range(300_000))
        if step % 10 == 0:
            print(f"step {step}/{STEPS} loss {loss:.4f}", flush=True)
    model = out / "model.bin"
    model.write_bytes(bytes(SIZE))
    server = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    with model.open("rb") as file:
        connection.request("PUT", "/model.bin", file, {"Content-Length": str(SIZE)})
    connection.getresponse().read()
    print("uploaded", flush=True)


main(Path(sys.argv[1]))
