"""An application on a port of its own, for as long as a test needs it."""

import socket
import threading
from contextlib import contextmanager

import uvicorn


@contextmanager
def serving(app, server=None):
    """Serves an application in a thread, by a server of its own if it has one; gives its address, without a path."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = server or uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
