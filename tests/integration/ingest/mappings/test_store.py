"""Mappings by name in Postgres: saved ones before ready ones, with their history."""

import threading

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings import store
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.storage.database import transaction

OURS = """\
# {comment}
name: {name}
columns:
  invoice_no: Bestellnummer
  stock_code: Artikelnummer
  quantity: Menge
  invoice_date: Datum
  unit_price: Preis
  customer_id: Kunde
invoices: {invoices}
"""


def yaml(name="laden", invoices="whole", comment="our till"):
    return OURS.format(name=name, invoices=invoices, comment=comment)


def history(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select name, saved_by, ended_by from raw.mapping order by mapping_id")
        return cursor.fetchall()


def names(settings):
    return [each.name for each in store.every_mapping(settings)]


def test_a_saved_mapping_is_loaded_as_it_was_written(settings):
    stored, before = store.save(settings, yaml(), saved_by="anna")
    assert (stored.name, stored.saved_by, before) == ("laden", "anna", None)
    loaded = store.named(settings, "laden")
    assert loaded.yaml == yaml()
    assert loaded.mapping.columns.quantity.names == ("Menge",)
    assert names(settings) == sorted([*ready(), "laden"])


def test_a_saved_one_stands_before_the_ready_one_until_it_is_removed(settings):
    assert store.named(settings, "shopify").saved_by is None
    store.save(settings, yaml("shopify"), saved_by="anna")
    assert store.named(settings, "shopify").mapping.columns.quantity.names == ("Menge",)
    assert names(settings) == sorted(ready())
    assert store.remove(settings, "shopify", removed_by="ben").name == "shopify"
    assert store.named(settings, "shopify").mapping == ready()["shopify"]
    assert history(settings) == [("shopify", "anna", "ben")]


def test_each_mapping_of_a_name_stays_in_the_history_and_the_same_again_changes_nothing(settings):
    store.save(settings, yaml(), saved_by="anna")
    assert store.save(settings, yaml(), saved_by="ben")[1] is None
    stored, before = store.save(settings, yaml(invoices="parts"), saved_by="ben")
    assert (stored.mapping.invoices, before.mapping.invoices, before.saved_by) == ("parts", "whole", "anna")
    assert store.remove(settings, "laden", removed_by="carl") is None
    assert history(settings) == [("laden", "anna", "ben"), ("laden", "ben", "carl")]
    assert "laden" not in names(settings)


def test_of_two_people_who_save_the_same_name_at_once_both_succeed_and_one_reads(settings):
    start, told = threading.Barrier(8), []

    def person(number):
        start.wait()
        told.append(store.save(settings, yaml(comment=f"version {number}"), saved_by=f"person {number}"))

    threads = [threading.Thread(target=person, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each of them is told whose place theirs took, but for the first.
    assert sum(before is None for _, before in told) == 1
    assert len({before.saved_by for _, before in told if before}) == 7
    assert sum(ended is None for *_, ended in history(settings)) == 1
    assert len(history(settings)) == 8


@pytest.mark.parametrize("name", ["Shopify", "../x", "a" * 41, "", "shop ify", "käse", "x\n", "x'; drop table x"])
def test_a_name_that_is_none_is_refused_and_never_found(settings, name):
    with pytest.raises(InputError, match=r"name: ") as raised:
        store.save(settings, yaml().replace("name: laden", f"name: {name!r}"), saved_by="anna")
    assert "\n" not in str(raised.value)
    assert history(settings) == []
    with pytest.raises(InputError, match="There is no mapping"):
        store.named(settings, name)
    assert not store.is_name(name)


def test_an_unknown_name_is_one_line_with_the_names_that_there_are(settings):
    store.save(settings, yaml(), saved_by="anna")
    with pytest.raises(InputError) as raised:
        store.named(settings, "Shopfy")
    assert str(raised.value) == (
        f"There is no mapping 'Shopfy'. Did you mean shopify? There are: {', '.join(sorted([*ready(), 'laden']))}. "
        "`ncf-pipeline mapping new FILE` makes another one."
    )


def test_a_ready_mapping_cannot_be_removed(settings):
    with pytest.raises(InputError, match="shopify comes with the package"):
        store.remove(settings, "shopify", removed_by="anna")
    with pytest.raises(InputError, match="There is no mapping 'x'"):
        store.remove(settings, "x", removed_by="anna")


def test_a_mapping_that_is_no_longer_read_spoils_no_other(settings):
    store.save(settings, yaml(), saved_by="anna")
    with transaction(settings) as connection:
        connection.cursor().execute("update raw.mapping set yaml = 'name: laden\ncolours: {}'")
    assert "laden" in names(settings)
    assert store.named(settings, "shopify").mapping.name == "shopify"
    with pytest.raises(InputError, match="columns: it is missing"):
        _ = store.named(settings, "laden").mapping
