"""Publishers that are killed, or run at once, while readers read all the time."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from published import META, make_lists

from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publication import publishing
from ncf_pipeline.storefront import reading

PROGRAM = Path(__file__).with_name("processes.py")
CUSTOMERS = 20_000


@pytest.fixture
def start(settings):
    """Starts a process of `processes.py`; processes that still run at the end are killed."""
    started = []

    def begin(action, *arguments, **options):
        command = [sys.executable, PROGRAM, action, settings.list_store(), settings.key_prefix, *map(str, arguments)]
        started.append(subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def result_of(reader):
    out, _ = reader.communicate(input="", timeout=60)
    return json.loads(out)


def test_readers_never_see_an_empty_mixed_or_missing_list_during_20_publications(start, settings, store, without_grace):
    start("publish", 50).wait()
    readers = [start("read", 50) for _ in range(2)]

    def all_have_seen(number):
        seen = store.hgetall("seen")
        return len(seen) == 2 and min(seen.values()) >= publication.name_of(number)

    wait_until(lambda: all_have_seen(1))
    for number in range(2, 22):
        lists = make_lists(publication.name_of(number), customers=50, first=0)
        more = lists[lists["key"] == "85123A"].assign(key="71053")
        with pytest.MonkeyPatch.context() as patch:
            # In a shop, hours pass between publications, so old ones are gone when the next one comes. Here the grace
            # period is only a little longer than readers may hold a number.
            patch.setattr(publishing, "GRACE_SECONDS", 4 * reading.HOLD_SECONDS)
            publication.publish(settings, [lists, more], number=number, meta=META)
        time.sleep(0.1)
        # Sometimes the readers keep up; in between, several publications overtake them.
        if number % 5 == 1:
            wait_until(lambda number=number: all_have_seen(number))
    for reader in readers:
        seen = result_of(reader)
        assert seen["faults"] == []
        assert seen["publications"] >= 5


KILLS = {
    "before the first list": lambda store, prefix: store.exists(f"{prefix}:p000002:writing"),
    "after the first thousand": lambda store, prefix: store.hlen(f"{prefix}:p000002:index") >= 1,
    "in the middle": lambda store, prefix: store.hlen(f"{prefix}:p000002:index") >= 10,
    "while reading back": lambda store, prefix: store.exists(f"{prefix}:p000002:meta"),
    "once it is live": lambda store, prefix: store.get(f"{prefix}:current") == "p000002",
}


@pytest.mark.parametrize("again", ["with the next number", "with the same number"])
@pytest.mark.parametrize("kill", KILLS)
def test_a_publisher_killed_at_any_point_leaves_whole_lists_and_running_again_cleans_up(
    settings, store, keys, start, publish, without_grace, kill, again
):
    publish("p000001", customers=3)
    before = keys("p000001:*")
    publisher = start("publish", CUSTOMERS, 2)
    wait_until(lambda: KILLS[kill](store, settings.key_prefix))
    publisher.send_signal(signal.SIGKILL)
    publisher.wait()
    live = publication.live_publication(settings)["name"]
    assert live == ("p000002" if kill == "once it is live" else "p000001")
    assert keys("p000001:*") == before
    whole = publication.publications(settings)
    assert whole in ([1], [2, 1])
    if 2 not in whole:
        with pytest.raises(ListStoreError, match="p000002 is not in Redis"):
            publication.flip(settings, 2)

    sign = f"{settings.key_prefix}:p000002:writing"
    if again == "with the same number" and live == "p000001":
        store.expire(sign, 1)  # instead of half a minute
        assert publish("again", customers=5, number=2).number == 2
        expected = 5
    else:
        store.delete(sign)
        assert publish("again", customers=5).number == 3
        expected = 5 if 2 not in whole else 5 + CUSTOMERS
    held = set(publication.publications(settings))
    for number in (1, 2, 3):
        assert bool(keys(f"p00000{number}:*")) == (number in held), number
    assert len(keys(f"p00000{max(held)}:customer:*")) == 5
    assert len(keys("p*:customer:*")) == expected + (3 if 1 in held else 0)


def publish_slowly(settings, *, begun, resume, said):
    """Publishes in a thread that waits in the middle; if it fails, its message goes into `said`."""

    def lists():
        lists = make_lists("slow", customers=1500)
        yield lists.iloc[:-4]  # more than a thousand keys: the first are written
        begun.set()
        resume.wait(30)
        yield lists.iloc[-4:]

    def make_live():
        try:
            publication.publish(settings, lists(), meta=META)
        except ListStoreError as error:
            said.append(str(error))

    thread = threading.Thread(target=make_live)
    thread.start()
    return thread


def test_a_publisher_that_is_alive_is_left_alone_even_if_its_lists_are_slow(settings, keys, publish, without_grace):
    publish("before")
    slow, other, said = threading.Event(), threading.Event(), []
    thread = publish_slowly(settings, begun=slow, resume=other, said=said)
    slow.wait(30)
    wait_until(lambda: keys("p000002:customer:*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "PATIENCE_SECONDS", 1)
        with pytest.raises(ListStoreError, match="p000002 is being written by another process"):
            publish(number=2)
    publish("faster", number=1 + 2)
    assert keys("p000002:customer:*")
    other.set()
    thread.join()
    # It comes too late: a higher number is live. What it wrote is gone.
    assert "p000002 was not made live: p000003 is" in said[0]
    assert publication.live_publication(settings)["name"] == "p000003"
    assert keys("p000002:*") == []


def test_of_several_publishers_the_highest_number_is_live_in_the_end_and_none_mix(settings, store, keys):
    refused = []

    def make_live(number):
        try:
            publication.publish(settings, [make_lists(f"{number}", customers=800)], number=number, meta=META)
        except ListStoreError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make_live, args=(number,)) for number in (3, 1, 4, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publication.live_publication(settings)["name"] == "p000004"
    assert all("is live, and is not older" in message for message in refused)
    held = publication.publications(settings)
    assert len(held) + len(refused) == 4
    for number in held:
        found = {
            store.hget(f"{settings.key_prefix}:{key}", "for_you")[:4] for key in keys(f"p00000{number}:customer:*")
        }
        assert found == {f'["{number}"'}


def test_a_rollback_calls_off_what_is_being_written(settings, keys, publish):
    publish("1")
    publish("2")
    begun, rolled_back, said = threading.Event(), threading.Event(), []
    thread = publish_slowly(settings, begun=begun, resume=rolled_back, said=said)
    begun.wait(30)
    publication.flip(settings, 1)
    rolled_back.set()
    thread.join()
    assert len(said) == 1
    assert "called off by a rollback" in said[0]
    assert publication.live_publication(settings)["name"] == "p000001"
    assert keys("p000003:*") == []


def test_hundreds_of_thousands_of_keys_need_no_more_memory_than_a_few(start, settings):
    process = start("measure", 200_000)
    out, _ = process.communicate(timeout=240)
    assert publication.live_publication(settings)["customers"] == "200000"
    assert int(out) < 100  # MB; the lists themselves would be 300
