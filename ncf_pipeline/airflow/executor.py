"""The executor of the embedded Airflow."""

import multiprocessing
from multiprocessing import forkserver

from airflow.executors.local_executor import LocalExecutor


class ReadyExecutor(LocalExecutor):
    """A `LocalExecutor` whose fork server starts with the scheduler: otherwise the first task would wait for it."""

    def start(self) -> None:
        """Starts the executor, and what tasks are forked from."""
        super().start()
        if multiprocessing.get_start_method() == "forkserver":
            forkserver.ensure_running()
