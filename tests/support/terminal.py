"""A command of `ncf-pipeline` with a terminal to type at."""

import os
import select
import subprocess
import sys

# Makes the terminal that a process is given its own, and Ctrl-C reach it even if the tests run in the background.
AT_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
COMMAND = """
from ncf_pipeline.__main__ import main
main()
"""


class Terminal:
    """The command with a terminal to type at. What it prints goes through a pipe, which loses nothing at its end."""

    def __init__(self, arguments, environment, *, stubs="", folder=None):
        self.keyboard, terminal = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL + stubs + COMMAND, *arguments],
            env=os.environ | environment,
            cwd=folder,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.close(terminal)
        self.shown = ""

    def see(self, text):
        """Waits until the command has printed the text."""
        while text not in self.shown:
            assert self._read(), self.shown

    def type(self, text):
        os.write(self.keyboard, text.encode())

    def end(self):
        """The exit code, once the command has printed everything."""
        while self._read():
            pass
        code = self.process.wait(timeout=60)
        os.close(self.keyboard)
        self.process.stdout.close()
        return code

    def _read(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 120)
        assert ready, self.shown
        part = os.read(self.process.stdout.fileno(), 4096)
        self.shown += part.decode(errors="replace")
        return bool(part)
