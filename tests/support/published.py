import pandas as pd
import pytest
import redis

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publication import publishing

META = {
    "model_version": "v1",
    "cutoff": "2011-12-09T12:51:00",
    "published_at": "2026-01-01T00:00:00+00:00",
    "top_n": 2,
}


def make_lists(mark="a", customers=1, first=14646):
    """Lists whose first stock code is the mark, so that a reader can tell their publication."""
    rows = [
        ("customer", str(first + number), name, [mark, f"{number}"])
        for number in range(customers)
        for name in ("for_you", "discover", "buy_again")
    ]
    rows += [("product", "85123A", name, [mark]) for name in ("bought_together", "similar")]
    rows += [
        ("fallback", key, name, [mark, "É:1"])
        for key in ("United Kingdom", "Channel Islands", "EIRE", "Curaçao: 100%", "*")
        for name in ("for_you", "new_arrivals")
    ]
    return pd.DataFrame(rows, columns=list(Lists.ALL))


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


@pytest.fixture
def keys(settings, store):
    """The keys under the prefix that match a pattern, without the prefix."""

    def find(pattern="*"):
        prefix = f"{settings.key_prefix}:"
        return sorted(key.removeprefix(prefix) for key in store.scan_iter(f"{prefix}{pattern}", count=10_000))

    return find


@pytest.fixture
def publish(settings):
    """Publishes lists with a mark."""

    def make_live(mark="a", *, customers=1, number=None, meta=META):
        return publication.publish(settings, [make_lists(mark, customers)], number=number, meta=meta)

    return make_live


@pytest.fixture
def without_grace(monkeypatch):
    """As if all earlier publications had stopped being live long ago."""
    monkeypatch.setattr(publishing, "GRACE_SECONDS", 0)
