"""On-call's channel: a web server that keeps what it is sent."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Message:
    """What on-call got.

    Attributes:
        shop: whose incident it is.
        title: such as `[page] ...` or `[over] ...`.
        body: of several lines.
        at: when it came, as `time.time()`.
    """

    shop: str
    title: str
    body: str
    at: float


class Channel:
    """Receives alerts, for Apprise a `json://` address."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        messages = self.messages

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                messages.append(Message(self.path.rpartition("/")[2], body["title"], body["message"], time.time()))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)

    def url(self, shop: str) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/{shop}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
