"""A merchandiser's edits reach Redis with a refresh, without a retrain."""

import json
import logging
import re
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis

from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.lists.rules import Pin
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import publish
from ncf_pipeline.serving.merchandising import newest_prices, read_rule_tables, rules_for
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import retrain

from ..conftest import AS_OF

GUIDE = Path(__file__).parents[3] / "docs" / "merchandising.md"


@pytest.fixture
def published(settings):
    """All lists that Redis holds: {(audience, key): {list name: stock codes}}."""

    def read():
        found = {}
        with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
            name = store.get(f"{settings.key_prefix}:current")
            for audience in ("customer", "product", "fallback"):
                for key in store.scan_iter(f"{settings.key_prefix}:{name}:{audience}:*", count=1000):
                    found[audience, key.split(":", 3)[3]] = {
                        field: json.loads(text) for field, text in store.hgetall(key).items()
                    }
        return found

    return read


def execute(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def shown(lists, *names):
    """Every product in lists with these names, or in all lists."""
    return {
        code
        for of_key in lists.values()
        for name, codes in of_key.items()
        if not name.endswith("_reasons") and (not names or name in names)
        for code in codes
    }


def test_each_rule_reaches_redis_by_a_refresh(settings, version, published, caplog):
    caplog.set_level(logging.INFO)
    retrain.publish(settings, version)
    before = published()
    assert {len(of_key["for_you"]) for (audience, _), of_key in before.items() if audience == "customer"} == {20}
    assert {len(of_key["for_you"]) for (audience, _), of_key in before.items() if audience == "fallback"} == {20}
    popular = before["fallback", "*"]["for_you"]
    unlisted, abroad, excluded, cheap = popular[:4]
    execute(
        settings,
        f"""
        insert into retail.unlisted_product values ('{unlisted}', 'out of stock');
        insert into retail.product_country values ('{abroad}', 'EIRE'), ('{popular[4]}', 'France');
        insert into retail.excluded_stock_code values ('{excluded}', 'no product');
        insert into retail.product values ('NOVEL1', 'COMES TOMORROW', now());
        insert into retail.pinned_product (stock_code, country, position) values
        ('novel1', 'France', 2), ('typo1', null, 1);
        update retail.list_limit set max_per_family = 1, min_price = 1;
        insert into retail.invoice_line values
        ('999999', 1, '{cheap}', 'A GOOD THING', 1, '2011-12-09', 0.99, 14600, 'France', 1);
        """,
    )
    assert refresh(settings) == 2
    after = published()
    assert {unlisted, abroad, excluded, cheap} <= shown(before)
    assert {unlisted, abroad, excluded, cheap, "TYPO1"} & shown(after) == set()
    assert popular[4] in after["fallback", "France"]["for_you"]
    assert popular[4] not in after["fallback", "*"]["for_you"]
    assert popular[4] not in shown({key: lists for key, lists in after.items() if key[0] == "product"})
    for (audience, key), of_key in after.items():
        if audience == "customer" or key == "France":
            assert of_key["for_you"][1] == "NOVEL1"
            assert len(of_key["for_you"]) == 20
    assert "NOVEL1" not in after["fallback", "*"]["for_you"]
    assert any("TYPO1" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    with Storefront(settings.list_store(), prefix=settings.key_prefix, timeout=5) as shop:
        found = shop.for_customer(14600)
        assert [reason.code for reason in found.reasons][1] == "pinned"
        bought = shop.for_customer(14600, list_name="buy_again")
        assert {reason.code for reason in bought.reasons} == {"bought"}

    execute(settings, "truncate retail.unlisted_product, retail.product_country, retail.pinned_product")
    assert refresh(settings) == 3
    assert unlisted in shown(published())
    assert "NOVEL1" not in shown(published())


def test_a_pinned_pair_is_first_on_the_list_of_its_product_and_no_other(settings, version, published):
    retrain.publish(settings, version)
    before = published()
    product, other = sorted(key for audience, key in before if audience == "product")[:2]
    execute(
        settings,
        "insert into retail.pinned_product (stock_code, list_name, beside) "
        f"values ('{other}', 'bought_together', '{product}')",
    )
    assert refresh(settings) == 2
    after = published()
    assert after["product", product]["bought_together"][0] == other
    assert other not in after["product", product]["bought_together"][1:]
    assert after["product", product]["similar"] == before["product", product]["similar"]
    others = {key for key in after if key[0] == "product"} - {("product", product)}
    assert {key: after[key] for key in others} == {key: before[key] for key in others}


def test_a_stock_code_excluded_since_the_snapshot_is_left_out(settings, version, published):
    retrain.publish(settings, version)
    code = published()["fallback", "*"]["for_you"][0]
    execute(settings, f"insert into retail.excluded_stock_code values ('{code}', 'recalled')")
    assert retrain.publish(settings, version) == 2
    assert code not in shown(published())


def test_rules_that_are_edited_while_lists_are_made_make_them_again(settings, version, published, monkeypatch):
    retrain.publish(settings, version)
    code = published()["fallback", "*"]["for_you"][0]
    check, checked = publish.check_lists, []

    def edit_before_the_check(*arguments, **options):
        if not checked:
            execute(settings, f"insert into retail.unlisted_product values ('{code}', 'out of stock')")
        checked.append(check(*arguments, **options))
        return checked[-1]

    monkeypatch.setattr(publish, "check_lists", edit_before_the_check)
    assert refresh(settings) == 3
    assert [[rule.rule_id for rule in verdict.broken if rule.severity == "critical"] for verdict in checked] == [
        ["product_is_not_unlisted"],
        [],
    ]
    assert code not in shown(published())


def test_reasons_can_be_left_out(settings, version, published):
    retrain.publish(settings.model_copy(update={"reasons": False}), version)
    assert {name for of_key in published().values() for name in of_key if name.endswith("_reasons")} == set()
    retrain.publish(settings, version)
    assert set(published()["customer", "14600"]) == {
        name + part for name in ("for_you", "discover", "buy_again") for part in ("", "_reasons")
    }


def test_dates_of_rules_are_half_open(settings):
    execute(
        settings,
        """
        insert into retail.unlisted_product values (' a1', 'out of stock', '2026-07-02'), ('B1', 'discontinued', null);
        insert into retail.pinned_product (stock_code, starts_on, ends_on)
        values ('c1', '2026-07-01', '2026-07-02'), ('d1', '2026-07-02', null);
        """,
    )
    first, second = (read_rule_tables(settings, date(2026, 7, day)) for day in (1, 2))
    assert (first.unlisted, first.pins) == ({"A1", "B1"}, (Pin("C1", "for_you"),))
    assert (second.unlisted, second.pins) == ({"B1"}, (Pin("D1", "for_you"),))


def test_without_rows_there_are_no_rules(settings, version):
    execute(settings, "delete from retail.list_limit")
    tables = read_rule_tables(settings, date(2026, 7, 1))
    assert (tables.max_per_family, tables.min_price, tables.pins) == (None, None, ())
    snapshot = read_snapshot(settings, take_snapshot(settings, AS_OF))
    assert rules_for(settings, tables, snapshot.interactions, AS_OF).hidden == frozenset()


def test_the_price_is_that_of_the_newest_sale(settings, version):
    snapshot = read_snapshot(settings, take_snapshot(settings, AS_OF))
    code = snapshot.products["stock_code"].iloc[0]
    newest = snapshot.interactions.loc[snapshot.interactions["stock_code"] == code, "purchased_at"].max()
    sales = snapshot.interactions.copy()
    sales.loc[(sales["stock_code"] == code) & (sales["purchased_at"] == newest), "unit_price"] = 7.0
    assert newest_prices(sales, AS_OF)[code] == 7.0
    assert newest_prices(sales, newest + timedelta(days=0))[code] == 1.0


def test_postgres_and_python_agree_what_a_family_is(settings):
    codes = ["85123A", "85123", "79323LP", "DCGS0003", "PADS", "15056BL", "1A2"]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select retail.product_family(code) from unnest(%s) as code", (codes,))
        assert [family for (family,) in cursor.fetchall()] == [family_of(code) for code in codes]


def test_the_examples_of_the_guide_run(settings):
    statements = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(statements) >= 4
    for statement in statements:
        execute(settings, statement)
    tables = read_rule_tables(settings, date.today())
    assert {"22423", "84946"} <= tables.unlisted
    assert (tables.max_per_family, tables.min_price) == (2, 0.5)
    assert [(pin.stock_code, pin.beside) for pin in tables.pins] == [("23084", None), ("22384", "20725")]
