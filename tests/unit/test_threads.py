import gc
import threading
import time
import weakref

import pytest

from ncf_pipeline.threads import in_order, prefetched


def test_prefetched_items_are_the_same_in_the_same_order():
    assert list(prefetched(iter(range(1, 6)))) == [1, 2, 3, 4, 5]
    assert list(prefetched(iter([]))) == []

    def breaks():
        yield 1
        raise ValueError("made badly")

    made = prefetched(breaks())
    assert next(made) == 1
    with pytest.raises(ValueError, match="made badly"):
        next(made)


def test_what_is_prefetched_is_held_by_the_caller_alone():
    class Part:
        pass

    made = prefetched(Part() for _ in range(3))
    part = next(made)
    held = weakref.ref(part)
    del part
    gc.collect()
    assert held() is None


def test_results_come_in_the_order_of_the_items_and_few_are_read_ahead():
    read, at_work, most = [], [], []

    def items():
        for number in range(20):
            read.append(number)
            yield number

    def slow(number):
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.01 if number % 2 else 0.02)
        at_work.remove(number)
        return number * number, threading.current_thread().name

    results = []
    for result, thread in in_order(slow, items(), threads=2):
        results.append(result)
        assert len(read) - len(results) <= 2
        assert thread != threading.current_thread().name
    assert results == [number * number for number in range(20)]
    assert max(most) == 2


def test_an_error_in_a_thread_is_raised_where_its_result_is_due():
    results = in_order(lambda number: 1 / number, [2, 1, 0, 5])
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
