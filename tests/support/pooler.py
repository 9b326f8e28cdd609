"""A pooler of connections to Postgres that, like PgBouncer in transaction mode, may change the server's connection
between any two transactions of a client.
"""

import os
import queue
import socket
import struct
import threading
from contextlib import contextmanager

import psycopg2

_GREETING = b"".join(
    kind + struct.pack("!i", len(body) + 4) + body
    for kind, body in [
        (b"R", struct.pack("!i", 0)),
        *((b"S", b"%s\0%s\0" % each) for each in [
            (b"server_version", b"18.0"), (b"client_encoding", b"UTF8"), (b"DateStyle", b"ISO, MDY"),
            (b"standard_conforming_strings", b"on"), (b"integer_datetimes", b"on"), (b"TimeZone", b"Etc/UTC"),
        ]),
        (b"K", struct.pack("!ii", 1, 1)),
        (b"Z", b"I"),
    ]
)  # fmt: skip


@contextmanager
def pooled(database_url, connections=6):
    """Gives the URL of a pooler in front of a database; every transaction takes the connection that rested longest."""
    real = [psycopg2.connect(database_url) for _ in range(connections)]
    resting = queue.Queue()
    for connection in real:
        server = socket.socket(fileno=os.dup(connection.fileno()))  # signed in already
        server.setblocking(True)
        resting.put(server)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(client, resting), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    login, _, address = database_url.rpartition("@")
    try:
        yield f"{login}@127.0.0.1:{listener.getsockname()[1]}/{address.partition('/')[2]}?sslmode=disable"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in real:
            connection.close()


def _serve(client, resting):
    server = None
    try:
        while True:  # until the client has said who it is; it may first ask for encryption
            (length,) = struct.unpack("!i", _exactly(client, 4))
            (code,) = struct.unpack("!i", _exactly(client, length - 4)[:4])
            if code == 196608:
                break
            client.sendall(b"N")
        client.sendall(_GREETING)
        while (message := _message(client))[:1] != b"X":
            server = server or resting.get()
            server.sendall(message)
            if message[:1] == b"d":  # rows that the client copies in
                continue
            while True:
                answer = _message(server)
                client.sendall(answer)
                if answer[:1] == b"G":
                    break
                if answer[:1] == b"Z":
                    if answer[5:] == b"I":
                        resting.put(server)
                        server = None
                    break
    except (OSError, EOFError):
        pass
    finally:
        client.close()
        if server is not None:  # the client left in the middle of a transaction
            server.sendall(b"Q" + struct.pack("!i", 13) + b"rollback\0")
            while _message(server)[:1] != b"Z":
                pass
            resting.put(server)


def _message(connection):
    head = _exactly(connection, 5)
    return head + _exactly(connection, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(connection, count):
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts
