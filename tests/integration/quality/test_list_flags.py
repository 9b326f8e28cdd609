"""The flags of lists are those that SQL finds, in random shops with every kind of rule and fault."""

import random
from datetime import date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from flags_by_sql import fill
from psycopg2.extras import execute_values

from ncf_pipeline.columns import LISTS_OF, Lists
from ncf_pipeline.quality import list_flags
from ncf_pipeline.quality import lists as list_quality
from ncf_pipeline.quality.lists import check_lists
from ncf_pipeline.storage.database import transaction

AS_OF, TODAY = datetime(2011, 12, 9), date(2026, 7, 1)
CODES = ["22000", "22001", "22002A", "22003", "9A", "9B", "9C", "É:1", 'A"B', "X,1", "POST", "M\\", "NULL", "\\."]
CUSTOMERS = ["1", "2", "3", "4", "5", "6", "7", "ann@example.com", 'é"\n', "NULL", "\\.", "a\n\\.\nb", "", "a\rb"]
COUNTRIES = ["France", "EIRE", "Curaçao: 100%"]
PINNED = ["for_you", "discover", "new_arrivals"]
COLUMNS = (
    "audience, key, list_name, is_expected, length, has_repeated, has_unsold, has_excluded, has_undescribed, "
    "has_bought, has_unlisted, has_foreign, has_cheap, family_members, lacks_pinned, digest, history"
)


def some_purchases(rng):
    rows = [
        (
            customer,
            rng.choice(CODES),
            rng.choice([*COUNTRIES, None]),
            AS_OF - timedelta(days=rng.choice([-1, 0, 1, 2, 5, 9])),
            rng.choice([None, None, None, AS_OF - timedelta(days=1), AS_OF + timedelta(days=3)]),
            rng.choice([0.3, 0.5, 2.0]),
        )
        for customer in [*CUSTOMERS, None]
        for _ in range(rng.randint(0, 8))
    ]
    columns = ["customer_id", "stock_code", "country", "purchased_at", "returned_at", "unit_price"]
    types = {"customer_id": "str", "country": "str", "purchased_at": "datetime64[us]", "returned_at": "datetime64[us]"}
    return pd.DataFrame(rows, columns=columns).astype(types)


def some_lists(rng):
    rows = [
        (audience, key, name, rng.choices([*CODES, "NEW1", "UNKNOWN1"], k=rng.randint(0, 6)))
        for audience, keys in (
            ("customer", [*CUSTOMERS, "stranger"]),
            ("product", [*CODES, "NEW1", "UNKNOWN1"]),
            ("fallback", [*COUNTRIES, "*", "Atlantis"]),
        )
        for key in keys
        for name in LISTS_OF[audience]
        if rng.random() < 0.85
    ]
    return pd.DataFrame(rows, columns=list(Lists.ALL))


def make_rules(rng, connection):
    with connection.cursor() as cursor:
        described = [(code, "A GOOD THING", AS_OF) for code in [*CODES, "NEW1"] if rng.random() < 0.9]
        execute_values(cursor, "insert into retail.product values %s", described)
        if rng.random() < 0.7:
            cursor.execute(
                "insert into retail.catalogue_load (source, sha256, is_whole, facts, loaded_by, rows_read, rows_new, "
                "rows_changed, rows_unchanged, rows_repeated, rows_refused, products_missing) "
                "values ('a', 'a', true, '{}', 'a', 1, 1, 0, 0, 0, 0, 0) returning load_id"
            )
            cursor.execute(
                "insert into retail.catalogue (stock_code, description, load_id) values ('NEW1', %s, %s)",
                (rng.choice(["A NEW THING", None]), cursor.fetchone()[0]),
            )
        for code in rng.sample(CODES, 3):
            again = rng.choice([None, "2026-07-01", "2026-07-02"])
            cursor.execute(
                "insert into retail.unlisted_product values (%s, 'out of stock', %s)", (f"{code.lower()} ", again)
            )
        for code in rng.sample(CODES, 3):
            cursor.execute("insert into retail.product_country values (%s, %s)", (code, rng.choice(COUNTRIES)))
        for code in rng.sample(["NEW1", *CODES], 5):
            cursor.execute(
                "insert into retail.pinned_product (stock_code, list_name, country, starts_on, ends_on) "
                "values (%s, %s, %s, '2026-06-01', %s)",
                (code, rng.choice(PINNED), rng.choice([None, *COUNTRIES]), rng.choice([None, "2026-07-01"])),
            )
        one, other = rng.sample(CODES, 2)
        cursor.execute(
            "insert into retail.pinned_product (stock_code, list_name, beside, starts_on) "
            "values (%s, 'bought_together', %s, '2026-06-01')",
            (one, other),
        )
        limits = rng.choice([None, 1, 2]), rng.choice([None, 0.4, 1.0])
        cursor.execute("update retail.list_limit set max_per_family = %s, min_price = %s", limits)


def rows_to_check(settings):
    """The rows of both tables; hashes become the order in which they are met, because they are others in SQL."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f'select {COLUMNS} from ml.checked_list order by audience, key collate "C", list_name, length')
        met, lists = {}, []
        for *flags, digest, history in cursor.fetchall():
            numbers = [
                None if value is None else met.setdefault((kind, value), len(met))
                for kind, value in (("digest", digest), ("history", history))
            ]
            lists.append((*flags, *numbers))
        cursor.execute("select * from ml.checked_product order by stock_code")
        products = cursor.fetchall()
        cursor.execute("truncate ml.checked_list, ml.checked_product")
    return lists, products


ODD_SHOPS = ["in small pieces", "of guests", "without countries", "of categories"]


@pytest.mark.parametrize(
    ("shop", "seed"),
    [("usual", seed) for seed in range(12)] + [(shop, seed) for shop in ODD_SHOPS for seed in range(4)],
)
def test_they_are_those_that_sql_finds(settings, monkeypatch, shop, seed):
    rng = random.Random(seed)
    interactions, lists = some_purchases(rng), some_lists(rng)
    control, hidden = rng.sample(CUSTOMERS, 2), rng.sample(CODES, 2)
    if shop == "in small pieces":
        for name, at_once in (("_LINES_AT_ONCE", 5), ("_PLACES_AT_ONCE", 7), ("_LISTS_AT_ONCE", 2)):
            monkeypatch.setattr(list_flags, name, at_once)
    elif shop == "of guests":
        interactions["customer_id"] = None  # not even of a type
    elif shop == "without countries":
        interactions["country"] = float("nan")
    with transaction(settings) as connection:
        make_rules(rng, connection)
        fill(connection, lists, interactions, AS_OF, TODAY, control, hidden)
    expected = rows_to_check(settings)
    found = []
    monkeypatch.setattr(list_quality.quality, "check_table", lambda *_, **__: found.append(rows_to_check(settings)))
    monkeypatch.setattr(list_quality, "_refuse_if_lost", lambda *_: None)
    if shop == "of categories":
        interactions = interactions.astype(dict.fromkeys(["customer_id", "stock_code", "country"], "category"))
    frames = [lists.iloc[:40], pa.Table.from_pandas(lists.iloc[40:], preserve_index=False)]
    lengths = interactions["customer_id"].astype("str").fillna("").str.len()
    parts = [part for _, part in interactions.groupby(lengths % 2)]
    parts.insert(1, interactions.iloc[:0])
    check_lists(settings, frames, parts, AS_OF, top_n=5, today=TODAY, control=control, hidden=hidden)
    assert found == [expected]


def test_lines_of_guests_are_read_some_at_a_time_too(monkeypatch):
    monkeypatch.setattr(list_flags, "_LINES_AT_ONCE", 20)
    interactions = pd.concat([some_purchases(random.Random(seed)) for seed in range(5)], ignore_index=True)
    guests = interactions.assign(customer_id=pd.Series([None] * len(interactions), dtype="str"))
    some = [len(lines) for lines in list_flags._by_customer([interactions, guests])]
    assert sum(some) == 2 * len(interactions)
    of_guests = some[len(interactions) // 20 + 1 :]
    assert max(of_guests) <= 20
