"""What Airflow calls this machine."""


def loopback() -> str:
    """Everything runs here, so our name in a network is nobody's business.

    Airflow asks `http://HOSTNAME:8793` for the log of a task that runs, besides reading its file. By the
    machine's own name that is a look-up that may hang, of an address that others can reach.
    """
    return "127.0.0.1"
