"""The server of the API: uvicorn, with limits."""

import uvicorn
from fastapi import FastAPI

GRACE_SECONDS = 10
"""Requests that are being answered when the server is stopped get so long."""


def server_of(app: FastAPI) -> uvicorn.Server:
    """Makes the server of an application; `run` it with a socket that listens."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",  # which limits the length of addresses and headers
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
