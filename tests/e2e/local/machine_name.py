"""What a worker calls the machine that it runs on; it imports this, in a process of its own."""

import os


def machine_name():
    return os.environ["MACHINE_NAME"]
