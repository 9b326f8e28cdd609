"""Work that goes on beside other work: reading, hashing and arrays let other threads run meanwhile."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order", "prefetched"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, none of which may be None. A thread makes the next one while the caller uses this one."""
    coming = iter(items)
    with ThreadPoolExecutor(1) as thread:
        made: Future[Item | None] = thread.submit(next, coming, None)
        while (item := made.result()) is not None:
            made = thread.submit(next, coming, None)
            handed_over = [item]
            del item
            yield handed_over.pop()  # the caller has the only copy


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 2) -> Iterator[Result]:
    """Applies a function to each item in some threads, and yields the results in the order of the items.

    Args:
        function: safe to be called by several threads at once.
        items: read one by one. Only as many as there are threads are in memory, each with its result.
        threads: at most so many items are worked on at once.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque[Future[Result]]()
        for item in items:
            waiting.append(pool.submit(function, item))
            del item  # the thread has the only copy
            if len(waiting) == threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
