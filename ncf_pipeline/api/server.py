"""The server of the API: uvicorn, with limits."""

import asyncio

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ncf_pipeline.api.problems import problem

GRACE_SECONDS = 10
"""Requests that are being answered when the server is stopped get so long."""


HEADER_SECONDS = 10.0
"""After so long, a connection whose request has no end of its headers yet is closed."""


class InTime(H11Protocol):
    """HTTP for clients that send a request's headers in time; uvicorn itself waits for ever.

    `guard.BODY_SECONDS` limits its body, and `timeout_keep_alive` the time between two requests.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Takes in what came, and waits for the rest of a request's headers."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Waits for the rest of the next request, of which a part may have come already."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        self._stop()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop()
        elif self.conn.trailing_data[0] and self._late is None:
            self._wait()

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEADER_SECONDS, self._refuse)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:  # else nobody asked anything
            answer = problem(408, f"The request did not come within {HEADER_SECONDS:g} seconds.")
            head = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
            head += b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
            self.transport.write(head + b"\r\n" + bytes(answer.body))
        self.transport.close()


def server_of(app: FastAPI) -> uvicorn.Server:
    """Makes the server of an application; `run` it with a socket that listens."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=InTime,  # which limits the length of addresses and headers, and the time that they take
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
