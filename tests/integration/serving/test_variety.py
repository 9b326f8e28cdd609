"""Variety and the order by expected revenue reach Redis with a refresh; what was shown last week is looked up."""

import json
import logging
from datetime import timedelta

import numpy as np
import pytest
import redis
from psycopg2.extras import execute_values

from ncf_pipeline.model.families import family_of
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publish
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import transaction

from ..conftest import AS_OF

CUSTOMERS = [str(14600 + number) for number in range(40)]


def execute(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def read(settings, number=None):
    """The lists of all customers in a publication, the live one if no number is given: {customer: {list: codes}}."""
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        name = store.get(f"{settings.key_prefix}:current") if number is None else f"p{number:06d}"
        return {
            customer: {
                field: json.loads(text)
                for field, text in store.hgetall(f"{settings.key_prefix}:{name}:customer:{customer}").items()
            }
            for customer in CUSTOMERS
        }


def sell(settings, day, products=2, invoice="w"):
    """Every second customer buys products, on a day after `AS_OF`."""
    at, random = AS_OF + timedelta(days=day), np.random.default_rng(day)
    rows = [
        (f"{invoice}{day}-{customer}", line, f"{22000 + code}", "A GOOD THING", 1, at, 1.0, customer, "France", 1)
        for customer in CUSTOMERS[::2]
        for line, code in enumerate(random.choice(150, products, replace=False))
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
    return {customer: {row[2] for row in rows if row[7] == customer} for customer in CUSTOMERS}


def with_(settings, **values):
    return settings.model_copy(update=values)


@pytest.mark.usefixtures("version")
def test_limits_on_families_and_categories_reach_redis(settings, caplog):
    execute(
        settings,
        "update retail.invoice_line set stock_code = left(stock_code, 4) || chr(65 + right(stock_code, 1)::int)",
    )
    refresh(settings)
    plain = read(settings)
    assert min(len({family_of(code) for code in lists["for_you"][:5]}) for lists in plain.values()) < 5

    refresh(with_(settings, variety_family=1, variety_category=1))
    assert "NCF_VARIETY_CATEGORY has no effect: no product has a category." in caplog.text
    for customer, lists in read(settings).items():
        for name in ("for_you", "discover"):
            assert len({family_of(code) for code in lists[name][:5]}) == 5
            assert len(lists[name]) == len(lists[f"{name}_reasons"]) == len(plain[customer][name])
        assert lists["buy_again"] == plain[customer]["buy_again"]

    execute(
        settings,
        "insert into retail.product_category "
        "select distinct lower(stock_code), 'shelf ' || ascii(right(stock_code, 1)) % 4 from retail.invoice_line",
    )
    refresh(with_(settings, variety_category=2))
    for lists in read(settings).values():
        shelves = [ord(code[-1]) % 4 for code in lists["for_you"][:5]]
        assert max(map(shelves.count, shelves)) <= 2

    refresh(settings)
    assert read(settings) == plain


@pytest.mark.usefixtures("version")
def test_what_was_shown_last_week_is_not_shown_again_unless_it_was_bought(settings, caplog):
    caplog.set_level(logging.INFO)
    varied = with_(settings, variety_repeat=0, keep_publications=9)
    first = refresh(varied)
    assert "No lists of last week were live" in caplog.text
    shown = read(settings)
    bought = sell(settings, 4)
    second = refresh(varied)  # of this week: the lists of last week are still unknown
    bought = {customer: bought[customer] | codes for customer, codes in sell(settings, 7).items()}
    third = refresh(varied)
    assert f"What was shown last week are the lists of p{first:06d}" in caplog.text
    now = read(settings)
    again = 0
    for customer, lists in now.items():
        for name in ("for_you", "discover"):
            before = set(shown[customer][name][:5])
            assert set(lists[name][:5]) & before <= bought[customer]
            again += len(set(lists[name][5:]) & before)
            assert len(lists[name]) == len(shown[customer][name])
    assert again > 40  # what is left out comes right behind
    refresh(with_(settings, keep_publications=9))
    plain = read(settings)
    assert sum(plain[customer]["for_you"] != now[customer]["for_you"] for customer in CUSTOMERS) > 10
    for customer in CUSTOMERS:  # it repeats whatever was shown
        assert plain[customer]["buy_again"] == now[customer]["buy_again"]

    # The same lists are made again, after a kill too: what counts is what was live a week ago.
    def kill(*_arguments, **_options):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "_make_live", kill)
        with pytest.raises(KeyboardInterrupt):
            refresh(varied)
    refresh(varied)
    assert read(settings) == now
    assert [entry.number for entry in registry.publications(settings)][-3:] == [third, second, first]


@pytest.mark.usefixtures("version")
def test_lists_go_live_though_those_of_last_week_are_gone(settings, caplog):
    first = refresh(settings)
    sell(settings, 7)
    execute(settings, f"update ml.publication set url = url || '.gone' where number = {first}")
    refresh(with_(settings, variety_repeat=0))
    assert f"The lists of p{first:06d}, which were shown last week, cannot be read, so none counts" in caplog.text
    varied = read(settings)
    refresh(settings)
    assert read(settings) == varied


@pytest.mark.usefixtures("version")
def test_an_order_by_expected_revenue_reaches_redis(settings):
    execute(settings, "update retail.invoice_line set unit_price = 50 where right(stock_code, 1) = '7'")
    refresh(settings)
    plain = read(settings)
    refresh(with_(settings, order="value"))
    by_value = read(settings)

    def dear(published):
        return np.mean([code[-1] == "7" for lists in published.values() for code in lists["for_you"][:5]])

    assert dear(by_value) > dear(plain) + 0.3
    for customer, lists in by_value.items():
        assert lists["buy_again"] == plain[customer]["buy_again"]
        assert {name: len(codes) for name, codes in lists.items()} == {
            name: len(codes) for name, codes in plain[customer].items()
        }
