"""The host name that the embedded Airflow uses."""


def loopback() -> str:
    """Returns 127.0.0.1, because everything runs on this machine.

    For the log of a running task, Airflow also asks `http://HOSTNAME:8793`. With the machine's real name, that needs a
    DNS lookup, which may hang, and leads to an address that others can reach.
    """
    return "127.0.0.1"
