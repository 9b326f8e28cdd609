"""Why a customer is, or is not, shown a product: what is said is what Redis holds, and what the model makes."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
import redis
from pydantic import SecretStr

from ncf_pipeline.columns import FOR_YOU, LISTS_OF, Lists
from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import hiding
from ncf_pipeline.serving.drafts import Basis
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.serving.scoring import maker_of, model_of
from ncf_pipeline.serving.why import why
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storefront import Storefront

from ..conftest import AS_OF
from .test_chances import MAP

WHO = "14600"
CUSTOMER_LISTS = LISTS_OF["customer"]
KEPT = 20


@pytest.fixture
def shop(settings, version, promoted, untrained):
    """A shop of 40 French customers and 150 products, whose lists are live, by a model that states chances."""
    promoted(take_snapshot(settings, AS_OF), "b", lambda frozen, _: replace(untrained(frozen, 0), chances=MAP))
    refresh(settings)
    return settings


@pytest.fixture
def published(shop, store):
    """The lists of a customer as Redis holds them."""

    def read(customer=WHO):
        fields = store.hgetall(f"{shop.key_prefix}:{store.get(f'{shop.key_prefix}:current')}:customer:{customer}")
        return {name: json.loads(fields[name]) for name in CUSTOMER_LISTS}

    return read


@pytest.fixture
def endless(shop):
    """The lists of a customer without an end, by the recorded draft and the model."""

    def make(customer=WHO):
        (made,) = read_rows(shop, "draft_of_publication", number=registry.publications(shop)[0].number)
        model = model_of(shop, registry.model_version(shop, made.version))
        maker = maker_of(shop, model, read_snapshot(shop, made.snapshot_id), Basis.from_dict(made.basis))
        (lists,) = maker.customers(500, chosen=[customer])
        return dict(zip(lists[Lists.LIST_NAME], lists[Lists.STOCK_CODES], strict=True))

    return make


def execute(settings, statement, *values):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)


def causes(settings, code, customer=WHO):
    return {answer.list_name: answer.cause for answer in why(settings, customer, code).answers}


def words(settings, code, name=FOR_YOU, customer=WHO):
    return next(answer.words for answer in why(settings, customer, code).answers if answer.list_name == name)


def apply(settings, *rules, limits=None):
    changes.apply(settings, Change(put=rules, limits=limits), actor="anna", reason=None)
    refresh(settings)


@pytest.mark.parametrize("customer", [WHO, "14621"])
def test_every_product_stands_where_redis_and_the_model_say(shop, published, endless, customer):
    lists, model = published(customer), endless(customer)
    assert all(model[name][:KEPT] == codes for name, codes in lists.items())
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as reader:
        shown = {
            name: found.stock_codes for name, found in reader.lists_of_customer(customer, country="France").items()
        }
    all_codes = [row.stock_code for row in read_rows(shop, "products_after", after="", code="", words=[], most=500)]
    looked_at = {*all_codes[::9], *model[FOR_YOU][18:24], lists["discover"][0], lists["buy_again"][-1]}
    for code in sorted(looked_at):
        found = why(shop, customer, code)
        assert (found.publication, found.version, found.country) == ("p000001", "v2", "France")
        assert found.reproduced in (None, True)
        for answer in found.answers:
            name = answer.list_name
            assert answer.shown_at == (shown[name].index(code) + 1 if code in shown[name] else None)
            assert answer.kept_at == (lists[name].index(code) + 1 if code in lists[name] else None)
            assert (answer.cause == "shown") == (answer.shown_at is not None)
            assert (answer.cause == "spare") == (answer.kept_at is not None and answer.shown_at is None)
            if answer.among is not None:
                assert answer.place == (model[name].index(code) + 1 if code in model[name] else None)
            if answer.cause == "too low":
                assert answer.place > KEPT
                assert f"It is number {answer.place} of their {answer.among} candidates; lists keep 20" in answer.words


def test_what_was_bought_is_not_new_and_what_was_not_is_not_bought_again(shop, published):
    again = published()["buy_again"][0]
    assert causes(shop, again)["discover"] == "bought"
    new = published()["discover"][-1]
    assert causes(shop, new)["buy_again"] == "not bought"


def test_hidden_at_once_for_everybody_or_in_the_customers_country(shop, published):
    first, second = published()[FOR_YOU][:2]
    execute(shop, "update retail.invoice_line set country = 'EIRE' where customer_id = '14601'")
    end = datetime.now().astimezone() + timedelta(days=2)
    hiding.hide(shop, [first], actor="anna", why="recalled")
    hiding.hide(shop, [second], actor="bob", country="France", until=end)
    assert set(causes(shop, first).values()) == {"hidden"}
    assert words(shop, first) == "It is hidden at once, by anna: recalled."
    assert words(shop, second).startswith("They are in France, and it is hidden there at once until 20")
    assert "hidden" not in causes(shop, second, "14601").values()
    hiding.unhide(shop, [first], actor="anna")
    assert causes(shop, first)[FOR_YOU] == "shown"


def test_sold_out_and_dismissed_are_told_apart(shop, published, store):
    first, second = published()[FOR_YOU][:2]
    store.sadd(f"{shop.key_prefix}:sold_out", first)
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as reader:
        assert reader.dismiss(WHO, second, days=90)
    assert causes(shop, first)[FOR_YOU] == "sold out"
    assert causes(shop, second)[FOR_YOU] == "dismissed"
    assert f"may come back on {date.today() + timedelta(days=90)}" in words(shop, second)
    assert "dismissed" not in causes(shop, second, "14601").values()
    store.srem(f"{shop.key_prefix}:sold_out", first)
    assert causes(shop, first)[FOR_YOU] == "shown"


def test_each_kind_of_rule_is_named_with_its_end_and_who_made_it(shop, published):
    hidden, elsewhere, cheap, excluded = published()[FOR_YOU][:4]
    end = date.today() + timedelta(days=3)
    assert causes(shop, hidden)[FOR_YOU] == "shown"
    changes.apply(shop, Change(put=(Rule("discontinued", hidden, ends_on=end),)), actor="anna", reason=None)
    assert "With the next refresh it goes: A rule leaves it out everywhere (discontinued" in words(shop, hidden)
    execute(shop, "update retail.invoice_line set unit_price = 0.1 where stock_code = %s", cheap)
    execute(shop, "insert into retail.excluded_stock_code values (%s, 'no product')", excluded)
    apply(shop, Rule("only in", elsewhere, ("EIRE", "Spain")), limits=Limits(None, 0.5))
    assert words(shop, hidden) == f"A rule leaves it out everywhere (discontinued until {end}, change 1 by anna)."
    assert words(shop, elsewhere).startswith(
        "A rule shows it only in EIRE, Spain, and they are in France (change 2 by "
    )
    assert words(shop, cheap) == "It costs 0.10 GBP, and lists show nothing below 0.50 GBP."
    assert words(shop, excluded) == "Its code stands for no product (retail.excluded_stock_code)."
    assert {causes(shop, code)[FOR_YOU] for code in (hidden, elsewhere, cheap, excluded)} == {"rule"}
    changes.undo(shop, 1, actor="anna")
    assert words(shop, hidden).startswith("A rule left it out when the live lists were made, and is gone or over.")


def test_a_limit_on_families_names_those_that_come_first(settings, version, promoted, untrained):
    execute(settings, "update retail.invoice_line set stock_code = '22000' || chr(65 + stock_code::int %% 20)")
    execute(settings, "delete from retail.product")
    execute(
        settings,
        "insert into retail.product select distinct stock_code, 'MUG', %s::timestamp from retail.invoice_line",
        AS_OF,
    )
    promoted(take_snapshot(settings, AS_OF), "b", lambda frozen, _: untrained(frozen, 0))
    apply(settings, limits=Limits(2, None))
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        name = client.get(f"{settings.key_prefix}:current")
        listed = json.loads(client.hget(f"{settings.key_prefix}:{name}:customer:{WHO}", FOR_YOU))
    assert len(listed) == 2
    other = next(code for code in ("22000A", "22000B", "22000C") if code not in listed)
    assert causes(settings, other)[FOR_YOU] == "family"
    assert words(settings, other) == (
        f"Lists show at most 2 of its family, and others of it come first: {', '.join(listed)}."
    )


def test_whoever_the_shop_does_not_know_sees_best_sellers(shop, published, store):
    name = store.get(f"{shop.key_prefix}:current")
    best = json.loads(store.hget(f"{shop.key_prefix}:{name}:fallback:*", FOR_YOU))
    assert causes(shop, best[0], "nobody")[FOR_YOU] == "shown"
    assert "number 1 of the best sellers that they see in place of" in words(shop, best[0], customer="nobody")
    other = next(code for code in published()[FOR_YOU] if code not in best)
    assert causes(shop, other, "nobody")[FOR_YOU] == "unknown customer"


def test_a_customer_and_a_product_that_are_newer_than_the_lists(shop, published):
    later = AS_OF + timedelta(days=1)
    execute(shop, "insert into retail.product values ('NEW', 'NEW THING', %s)", later)
    assert causes(shop, "NEW")[FOR_YOU] == "not sold"
    execute(
        shop,
        "insert into retail.invoice_line values ('999', 1, 'NEW', 'NEW THING', 1, %s, 1, 'newcomer', 'France', 1)",
        later,
    )
    assert causes(shop, "NEW", "newcomer")[FOR_YOU] == "no lists"
    assert "their first purchase is newer than 2011-12-08 00:00:01" in words(shop, "NEW", customer="newcomer")


def test_the_control_group_of_an_experiment_is_named(shop):
    design = Design("spring", "Lists sell.", "holdout", 0.5, "salt", AS_OF, minimum_effect=0.1)
    experiment_registry.start(shop, design, by="test")
    refresh(shop)
    customers = [str(14600 + number) for number in range(40)]
    share = dict(zip(customers, chosen(design.salt, design.share, customers), strict=True))
    inside, outside = (next(each for each in customers if share[each] == flag) for flag in (True, False))
    codes = [row.stock_code for row in read_rows(shop, "products_after", after="", code="", words=[], most=40)]
    of_share = {cause for code in codes for cause in [causes(shop, code, inside)[FOR_YOU]]}
    assert of_share <= {"control", "shown"}
    assert "control" in of_share
    assert "the control group of the experiment spring" in " ".join(
        words(shop, code, customer=inside) for code in codes
    )
    assert "control" not in {causes(shop, code, outside)[FOR_YOU] for code in codes}


def test_without_redis_the_file_answers_and_the_answer_says_so(shop, published):
    first, spare = published()[FOR_YOU][0], published()[FOR_YOU][12]
    away = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert causes(away, first)[FOR_YOU] == "shown"
    assert causes(away, spare)[FOR_YOU] == "spare"
    assert why(away, WHO, first).notes[0].startswith("Redis does not answer, so this is from the file")


def test_what_the_lists_were_made_from_may_not_be_recorded_or_too_much(shop, published, endless):
    low = endless()[FOR_YOU][KEPT + 10]
    assert causes(shop, low)[FOR_YOU] == "too low"
    few = why(shop, WHO, low, most_customers=10)
    assert few.answers[0].cause == "not known"
    assert "`ncf-pipeline why` does it" in few.answers[0].words
    execute(shop, "update ml.draft set basis = null where state = 'published'")
    assert causes(shop, low)[FOR_YOU] == "not known"
    assert "is not recorded, as after a rollback" in words(shop, low)


def test_before_the_first_lists_and_with_what_cannot_be(settings, version):
    code = read_rows(settings, "products_after", after="", code="", words=[], most=1)[0].stock_code
    assert {answer.words for answer in why(settings, WHO, code).answers} == {"No lists are live."}
    with pytest.raises(InputError, match="The shop has no product NONE"):
        why(settings, WHO, "none")
    with pytest.raises(InputError, match="cannot be a customer's id"):
        why(settings, "x" * 300, code)
