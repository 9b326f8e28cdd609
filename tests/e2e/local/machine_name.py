"""The name of a worker's machine; the worker imports this module in its own process."""

import os


def machine_name():
    return os.environ["MACHINE_NAME"]
