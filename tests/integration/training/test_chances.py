"""What is served is true: chances and due days are read from Redis, and compared with what was bought afterwards."""

from datetime import timedelta

import numpy as np
import pytest

from ncf_pipeline.evaluation.reliability import reliability, share_interval
from ncf_pipeline.evaluation.scores import truth_of
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving.publish import publish_lists
from ncf_pipeline.storefront import Storefront

pytestmark = [pytest.mark.trains, pytest.mark.timeout(900), pytest.mark.xdist_group("gate")]


def test_chances_and_due_days_that_are_served_come_true_in_the_weeks_after(shop):
    champion = registry.champion(shop)
    asked = shop.model_copy(update={"chances": True, "due": True, "key_prefix": "chances"})
    everything = read_snapshot(shop, take_snapshot(shop, None)).interactions
    with kept_out(shop) as erased:
        data = read_snapshot(shop, champion.snapshot_id)
        publish_lists(asked, champion, data, top_n=10, erased=erased)
    start, end = data.cutoff, data.cutoff + timedelta(days=28)
    truth = truth_of(everything, start, end).bought["for_you"]
    held = everything[(everything["purchased_at"] >= start) & (everything["purchased_at"] < end)]
    first = held.groupby(["customer_id", "stock_code"])["purchased_at"].min()
    pairs, due = [], []
    with Storefront(shop.list_store(), prefix="chances", chances=True, raise_errors=True, timeout=5) as client:
        for number, customer in enumerate(sorted(data.interactions["customer_id"].dropna().unique())):
            page = client.lists_of_customer(customer)
            mine, again = page["for_you"], page["buy_again"]
            if mine.source != "customer":  # all that they bought was returned
                continue
            assert len(mine.chances) == len(mine.stock_codes)
            assert len(again.due) == len(again.stock_codes)
            bought = truth.get(customer, ())
            pairs += [(number, p, code in bought) for code, p in zip(mine.stock_codes, mine.chances, strict=True)]
            for code, day in zip(again.stock_codes, again.due, strict=True):
                if day is not None and day < (end - timedelta(days=1)).date():
                    at = first.get((customer, code))
                    due.append((number, at is not None and at.date() <= day))
    who, chance, happened = (np.array(each) for each in zip(*pairs, strict=True))
    found = reliability(chance, happened, who)
    assert found.customers > 300  # whether or not they bought anything
    assert found.predicted == pytest.approx(found.observed, rel=0.25)  # from one month to the next
    assert found.skill > 0
    assert found.bins[-1].observed > 2 * found.bins[0].observed
    assert max(abs(each.predicted - each.observed) for each in found.bins) < 0.12
    whose, came = (np.array(each) for each in zip(*due, strict=True))
    low, high = share_interval(came, whose)
    assert len(came) >= 15
    assert low < 0.5 < high
