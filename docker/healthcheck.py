"""Checks whether a part of the stack works: exit code 0 or 1. It must be light: it runs every 30 s for each part."""

import json
import os
import socket
import sys
from urllib.request import urlopen

API = os.environ.get("API_SERVER_URL", "http://api-server:8080")


def health(part: str) -> str:
    """Returns the health of a part, by its heartbeat, as the API server reports it."""
    with urlopen(f"{API}/api/v2/monitor/health", timeout=10) as answer:
        return str((json.load(answer).get(part.replace("-", "_")) or {}).get("status"))


def answers(machine: str) -> bool:
    """Returns whether the Celery worker of a machine answers a ping through the broker."""
    from celery import Celery

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping(destination=[f"celery@{machine}"], timeout=8))


def watches() -> bool:
    """Returns whether the watcher has looked at Airflow a moment ago."""
    import psycopg2

    connection = psycopg2.connect(os.environ["NCF_DATABASE_URL"], connect_timeout=8)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select looked_at > now() - interval '5 minutes' from ops.watch where name = 'airflow'")
            return bool((cursor.fetchone() or (False,))[0])
    finally:
        connection.close()


def serves() -> bool:
    """Returns whether the API of the lists answers, and Redis behind it."""
    with urlopen("http://127.0.0.1:8091/ready", timeout=10) as answer:
        return bool(answer.status == 200)


def works(part: str) -> bool:
    """Returns whether a part of the stack works."""
    if part in ("worker", "gpu-worker"):
        return answers(socket.gethostname())
    if part == "lists-api":
        return serves()
    if part == "watcher":
        return watches()
    return health("metadatabase" if part == "api-server" else part) == "healthy"


if __name__ == "__main__":
    sys.exit(not works(sys.argv[1]))
