"""What a change of rules would do is said before anybody decides, and is what a refresh then does."""

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
import redis

from ncf_pipeline.errors import ChangedMeanwhileError, InputError
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving.merchandising import read_rule_tables
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction

from ...conftest import AS_OF
from ..test_chances import MAP

TODAY = date.today()


@pytest.fixture
def shop(settings, version, promoted, untrained):
    """A shop whose lists are live, by a model that states chances."""
    promoted(take_snapshot(settings, AS_OF), "b", lambda frozen, _: replace(untrained(frozen, 0), chances=MAP))
    refresh(settings)
    return settings


def published(settings, *, spare=False):
    """All lists as they are shown, or with what is spare: {audience: {key: {list name: stock codes}}}."""
    found = {"customer": {}, "product": {}, "fallback": {}}
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        name = store.get(f"{settings.key_prefix}:current")
        shown = None if spare else int(store.hget(f"{settings.key_prefix}:{name}:meta", "top_n"))
        for audience, lists in found.items():
            for key in store.scan_iter(f"{settings.key_prefix}:{name}:{audience}:*", count=1000):
                fields = {name: text for name, text in store.hgetall(key).items() if not name.endswith("_reasons")}
                lists[key.split(":", 3)[3]] = {name: json.loads(text)[:shown] for name, text in fields.items()}
    return found


def best(settings):
    return published(settings)["fallback"]["*"]["for_you"]


def apply(settings, change):
    return changes.apply(settings, change, actor="anna", reason=None)


def test_the_preview_says_what_the_next_refresh_then_does(shop):
    before = published(shop)
    first, second, third = best(shop)[:3]
    change = Change(
        put=(
            Rule("hidden", first),
            Rule("only in", second, ("France",)),
            Rule("pinned", third, ("France",), "for_you", 1, TODAY),
        ),
        limits=Limits(None, 0.5),
    )
    seen = previews.compute(shop, change)
    assert changes.history(shop) == []
    apply(shop, change)
    refresh(shop)
    after = published(shop)
    counts = {
        audience: sum(lists != after[audience][key] for key, lists in before[audience].items()) for audience in before
    }
    assert (seen.customers, seen.scored, seen.products, seen.countries) == (40, 40, len(before["product"]), 2)
    assert counts == {
        "customer": seen.customers_changed,
        "product": seen.products_changed,
        "fallback": seen.countries_changed,
    }
    assert counts["customer"] == 40
    customers = [example for example in seen.examples if example.audience == "customer"]
    assert len(customers) == previews.EXAMPLES
    for example in customers:
        assert example.whose == "France"
        assert example.after[0] == third or example.list_name != "for_you"
        assert first not in example.after
    products = [example for example in seen.examples if example.audience == "product"]
    for example in products:
        assert before["product"][example.whose][example.list_name] == list(example.before)
        assert after["product"][example.whose][example.list_name] == list(example.after)
    assert seen.lost > 0  # a pin is stronger than the model
    assert any("of the expected purchases from for_you would be lost" in each for each in seen.sentences())
    assert previews.Result.from_dict(json.loads(json.dumps(seen.as_dict()))) == seen
    assert not set(before["customer"]) & set(json.dumps(seen.as_dict()).split('"'))


def test_what_nobody_is_shown_does_not_count(settings, version, promoted, untrained):
    shop = settings.model_copy(update={"top_n": 2, "spare": 4})
    make = lambda frozen, _: replace(untrained(frozen, 0), chances=MAP)  # noqa: E731
    promoted(take_snapshot(shop, AS_OF), "b", make)
    refresh(shop)
    kept, shown = published(shop, spare=True), published(shop)
    spare = kept["fallback"]["*"]["for_you"][2]  # a third best seller, of which lists show two
    seen = previews.compute(shop, Change(put=(Rule("hidden", spare),)))

    def with_it(lists):
        return {
            audience: {key for key, each in of.items() if any(spare in codes for codes in each.values())}
            for audience, of in lists.items()
        }

    assert seen.top_n == 2
    assert seen.countries_changed == len(with_it(shown)["fallback"]) == 0 < len(with_it(kept)["fallback"])
    assert seen.customers_changed == len(with_it(shown)["customer"]) < len(with_it(kept)["customer"])
    assert seen.products_changed >= len(with_it(shown)["product"])
    assert all(len(example.before) <= 2 and spare in example.before for example in seen.examples)


def test_what_changes_nothing_is_said_to_change_nothing(shop):
    seen = previews.compute(shop, Change(put=(Rule("hidden", "99999"),)))
    assert (seen.customers_changed, seen.products_changed, seen.countries_changed, seen.examples) == (0, 0, 0, ())
    assert seen.lost == 0
    assert "0 of 40 customers would have other lists." in seen.sentences()
    assert "The expected purchases from for_you stay the same." in seen.sentences()


def test_a_sample_is_said_to_be_one(shop, monkeypatch):
    monkeypatch.setattr(previews, "EVERYBODY", 30)
    monkeypatch.setattr(previews, "SAMPLE", 10)
    change = Change(put=(Rule("pinned", best(shop)[0], (), "for_you", 3, TODAY),))
    seen = previews.compute(shop, change)
    assert (seen.customers, seen.scored) == (40, 10)
    assert seen == previews.compute(shop, change)
    assert seen.sentences()[0].startswith("Of a sample of 10 customers, ")


def test_a_change_that_begins_later_is_shown_as_of_its_first_day(shop):
    later = TODAY + timedelta(days=30)
    seen = previews.compute(shop, Change(put=(Rule("pinned", best(shop)[5], (), "for_you", 1, later),)))
    assert seen.on == later
    assert seen.customers_changed > 0


def test_version_0_states_no_chances(settings, version):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set state = 'retired' where version > 0")
    refresh(settings)
    seen = previews.compute(settings, Change(put=(Rule("hidden", best(settings)[0]),)))
    assert (seen.version, seen.lost) == ("v0", None)
    assert "How many purchases that costs is not known: what serves states no chances." in seen.sentences()


def test_without_lists_there_is_nothing_to_compare_with(settings):
    with pytest.raises(InputError, match="refresh first"):
        previews.compute(settings, Change())


CHANGES = [
    Change(put=(Rule("discontinued", "1"), Rule("only in", "2", ("EIRE",)), Rule("hidden", "9"))),
    Change(put=(Rule("pinned", "3", (), "for_you", 1, TODAY), Rule("pinned", "7", (), "for_you", 1, TODAY))),
    Change(remove=("out 1", "only 2")),
    Change(put=(Rule("pinned", "3", (), "for_you", 2, TODAY), Rule("hidden", "2")), replaces_all=True),
    Change(limits=Limits(3, 1.5)),
    Change(put=(Rule("out of stock", "1"),), remove=("out 1",), limits=Limits()),
]


@pytest.mark.parametrize("change", CHANGES)
def test_rules_after_a_change_are_what_applying_it_leaves(settings, change):
    begin = (
        Rule("hidden", "1", note="x"),
        Rule("only in", "2", ("France", "EIRE")),
        Rule("pinned", "3", (), "for_you", 2, TODAY),
        Rule("pinned", "4", ("EIRE",), "discover", 1, TODAY),
    )
    apply(settings, Change(put=begin, limits=Limits(2, None)))
    expected = previews.tables_after(settings, change, TODAY)
    apply(settings, change)
    assert read_rule_tables(settings, TODAY) == expected


def ask(settings, change, seen=None):
    newest = changes.newest_change(settings) if seen is None else seen
    return previews.ask(settings, change, asked_by="anna", reason="because", seen=newest)


def test_from_the_question_to_the_decision(shop):
    hidden = Change(put=(Rule("hidden", best(shop)[0]),))
    number = ask(shop, hidden)
    assert [each.preview_id for each in previews.open_previews(shop)] == [number]
    made = previews.make(shop, number)
    assert previews.preview(shop, number).result == made
    change = previews.save(shop, number, actor="ben")
    assert changes.rules(shop) == list(hidden.put)
    assert (changes.history(shop)[0].actor, changes.history(shop)[0].reason) == ("ben", "because")
    decided = previews.preview(shop, number)
    assert (decided.state, decided.saved_as) == ("saved", change)
    for again in (lambda: previews.save(shop, number, actor="ben"), lambda: previews.drop(shop, number)):
        with pytest.raises(InputError, match=f"was saved as change {change} already"):
            again()
    assert previews.make(shop, number) is None
    assert previews.open_previews(shop) == []


def test_what_is_thrown_away_changes_nothing(settings):
    number = ask(settings, Change(put=(Rule("hidden", "1"),)))
    previews.drop(settings, number)
    assert (changes.rules(settings), previews.preview(settings, number).state) == ([], "dropped")
    assert previews.make(settings, number) is None


def test_a_change_that_somebody_overtook_is_not_saved(settings):
    number = ask(settings, Change(put=(Rule("hidden", "1"),)))
    apply(settings, Change(put=(Rule("discontinued", "1"),)))
    with pytest.raises(ChangedMeanwhileError):
        previews.save(settings, number, actor="ben")
    assert previews.preview(settings, number).is_open


def test_a_preview_that_fails_says_why_and_can_be_tried_again(settings):
    number = ask(settings, Change(put=(Rule("hidden", "1"),)))
    for _ in range(2):
        with pytest.raises(InputError, match="refresh first"):
            previews.make(settings, number)
        assert previews.preview(settings, number).state == "failed"
        assert "refresh first" in previews.preview(settings, number).error


def test_old_previews_are_removed_and_open_ones_stay(settings):
    dropped, waiting = (ask(settings, Change(put=(Rule("hidden", "1"),))) for _ in range(2))
    previews.drop(settings, dropped)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update retail.rule_preview set ended_at = now() - interval '31 days' where ended_at is not null"
        )
    ask(settings, Change())
    assert previews.preview(settings, waiting).is_open
    with pytest.raises(InputError, match="There is no preview"):
        previews.preview(settings, dropped)


def test_each_role_does_its_part(shop, member):
    desk, worker = member("merchandising"), member("publishing")
    number = ask(desk, Change(put=(Rule("hidden", best(shop)[0]),)))
    previews.make(worker.model_copy(update={"artifacts_url": shop.artifacts_url}), number)
    assert previews.save(desk, number, actor="anna") is not None
