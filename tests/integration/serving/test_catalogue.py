"""A catalogue: every row that can be used in one transaction, each other one named; its stock is told to readers."""

import threading
from datetime import datetime

import pandas as pd
import polars as pl
import pytest
import redis
from pydantic import SecretStr

from ncf_pipeline.errors import InputError, ListStoreError
from ncf_pipeline.experiments import records as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import catalogue, hiding, publish, scoring
from ncf_pipeline.serving.health import check_lists
from ncf_pipeline.serving.merchandising import categories_of
from ncf_pipeline.serving.publish import prepare, publish_parts, refresh, republish
from ncf_pipeline.serving.scoring import kept_lists, score_shards, share_of
from ncf_pipeline.serving.watch import watch
from ncf_pipeline.serving.why import why
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Reason, Storefront
from ncf_pipeline.training import retrain

HEADER = "SKU;Name;Category;Brand;Price;Stock;Launched on;Image\n"
CUP = "85123a;Cup;Kitchen > Cups;Aga;2,55;4;31.01.2011;https://shop.example/cup.jpg\n"
LAMP = "22423;Lamp;Lights;;10,00;0;;\n"


@pytest.fixture
def load(settings, tmp_path):
    """Loads a file with this text, or these bytes."""

    def run(text, *, whole=False, name="catalogue.csv", settings=settings, **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return catalogue.load(settings, str(path), whole=whole, actor="ann", **options)

    return run


@pytest.fixture
def sold_out(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield lambda: client.smembers(f"{settings.key_prefix}:sold_out")


def facts(settings, *codes):
    known = catalogue.products_of(settings, codes or None)
    return [(each.stock_code, each.category, each.price, each.stock) for each in known]


def problems(loaded):
    return [f"{row.where}, {problem}" for row in loaded.merged.refused for problem in row.problems]


def test_what_on_call_is_told_of_wrong_rows(load):
    assert catalogue.refused_message(load(HEADER + CUP)) is None
    one = catalogue.refused_message(load(HEADER + CUP + LAMP.replace("10,00", "-2")))
    assert one.startswith(
        "The catalogue catalogue.csv: 1 row was wrong and not loaded.\nrow 3, Price: '-2' is no price."
    )
    many = "".join(f"{number};Lamp;Lights;;-2;0;;\n" for number in range(10_000, 10_009))
    first, *named = catalogue.refused_message(load(HEADER + CUP + many)).splitlines()
    assert (first, len(named)) == ("The catalogue catalogue.csv: 9 rows were wrong and not loaded.", 5)


def test_a_file_is_loaded_and_loaded_again_changes_nothing(load, settings):
    done = load(HEADER + CUP + LAMP).merged
    assert (done.read, done.new, done.changed, done.unchanged) == (2, 2, 0, 0)
    (lamp, cup) = catalogue.products_of(settings)
    assert cup.as_dict() == {
        "stock_code": "85123A",
        "description": "Cup",
        "category": "Kitchen > Cups",
        "brand": "Aga",
        "price": 2.55,
        "stock": 4.0,
        "launched_on": "2011-01-31",
        "image_url": "https://shop.example/cup.jpg",
        "missing_since": None,
    }
    assert (lamp.brand, lamp.launched_on, lamp.image_url) == (None, None, None)
    done = load(HEADER + CUP + LAMP).merged
    assert (done.read, done.new, done.changed, done.unchanged) == (2, 0, 0, 2)
    assert [(entry.loaded_by, entry.rows_new) for entry in catalogue.catalogue(settings).loads] == [
        ("ann", 0),
        ("ann", 2),
    ]


def test_a_part_leaves_other_products_and_other_facts_as_they_are(load, settings):
    load(HEADER + CUP + LAMP)
    done = load("code,stock\n22423,7\n")
    assert (done.facts, done.merged.changed, done.merged.missing) == (("stock",), 1, ())
    assert facts(settings) == [("22423", "Lights", 10.0, 7.0), ("85123A", "Kitchen > Cups", 2.55, 4.0)]
    load("code,category\n22423,\n")
    assert facts(settings, "22423") == [("22423", None, 10.0, 7.0)]


def test_what_a_whole_file_lacks_is_said_once_and_keeps_its_facts(load, settings):
    load(HEADER + CUP + LAMP, whole=True)
    assert load(HEADER + CUP, whole=True).merged.missing == ("22423",)
    assert load(HEADER + CUP, whole=True).merged.missing == ()
    (lamp,) = catalogue.products_of(settings, ["22423"])
    assert lamp.missing_since is not None
    assert lamp.category == "Lights"
    assert catalogue.catalogue(settings).missing == 1
    done = load(HEADER + LAMP).merged
    assert (done.changed, catalogue.catalogue(settings).missing) == (1, 0)
    assert catalogue.remove(settings, ["22423", "nothing"]) == ["22423"]
    assert [code for code, *_ in facts(settings)] == ["85123A"]


def test_each_bad_row_is_a_line_and_the_others_are_loaded(load, settings):
    rows = [
        CUP,
        ";Vase;Kitchen;;1,00;1;;\n",
        "A1;Vase;Kitchen;;-2,00;1;;\n",
        "A2;Vase;Kitchen;;1,00;ja;;\n",
        "A3;Vase;Kitchen;;1,00;1;31.02.2011;\n",
        "A4;Vase;Kitchen;;1,00;1;;javascript:alert(1)\n",
        "A5;Vase;Kitchen;;free;1;;https://user:word@shop.example/a.jpg\n",
        "A6;Vase;;>;1,00;1;;//shop.example/a.jpg\n",
        'A7;Vase; > ;;1,00;1;;"https://shop.example/a b.jpg"\n',
        "A8;Vase\n",
        "A9;Vase;#REF!;;1,00;1;;\n",
    ]
    done = load(HEADER + "".join(rows), whole=True)
    assert [code for code, *_ in facts(settings)] == ["85123A"]
    said = problems(done)
    for start in (
        "row 3, SKU is empty. Write the product's code, or remove the row.",
        "row 4, Price: '-2,00' is no price. Write a number such as 2.55, 0 or more",
        "row 5, Stock: 'ja' is no number of pieces. Write one such as 12, or 0",
        "row 6, Launched on: '31.02.2011' is no date. Write it as in 2011-12-25",
        "row 7, Image: 'javascript:alert(1)' is no address of an image. Write one that begins with https://",
        "row 8, Price: 'free' is no price.",
        "row 8, Image: 'https://user:word@shop.example/a.jpg' is no address of an image.",
        "row 9, Image: '//shop.example/a.jpg' is no address of an image.",
        "row 10, Category: '>' is no category.",
        "row 10, Image: 'https://shop.example/a b.jpg' is no address of an image.",
        "row 11, The row is broken: 'A8;Vase'.",
        "row 12, Category: '#REF!' is no category.",
    ):
        assert any(line.startswith(start) for line in said), start
    assert len(said) == 12
    kept = catalogue.refused_rows(settings)
    assert kept == list(done.merged.refused)
    assert kept[1].cells == {
        "stock_code": "A1",
        "description": "Vase",
        "category": "Kitchen",
        "price": "-2,00",
        "stock": "1",
    }


def test_two_rows_of_a_product_that_differ_are_both_refused_and_the_same_twice_counts_once(load, settings):
    load(HEADER + CUP)
    done = load(HEADER + CUP + CUP + LAMP + LAMP.replace("10,00", "9,00").replace("22423", " 22423 "), whole=True)
    assert (done.merged.repeated, done.merged.unchanged, len(done.merged.refused)) == (1, 1, 2)
    assert problems(done)[0] == "row 4, SKU: '22423' is also in row 5, with another Price. Keep one of them."
    assert done.merged.missing == ()
    assert facts(settings, "22423") == []


def test_a_product_whose_row_is_refused_keeps_what_it_had_and_is_not_missing(load, settings):
    load(HEADER + CUP + LAMP)
    done = load(HEADER + CUP + LAMP.replace("10,00", "-1,00"), whole=True)
    assert (len(done.merged.refused), done.merged.missing) == (1, ())
    assert facts(settings, "22423") == [("22423", "Lights", 10.0, 0.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "catalogue.csv is empty. Send it again."),
        ("SKU,Category\n", "catalogue.csv has a header but no rows"),
        ("Name,Category\nCup,Kitchen\n", "has no column StockCode or SKU or Code; its header has Name, Category"),
        ("SKU,Colour\n1,red\n", "has no column beside the codes that is known. Name one with --column"),
        (
            "SKU,Price\n1,-1\n2,ja\n",
            "No row of catalogue.csv can be used, so nothing was loaded. The first: row 2, Price",
        ),
        ("SKU,Price,Price\n1,1,1\n", "has the column Price twice"),
        ("InvoiceNo,StockCode,Quantity\n1,2,3\n", "holds invoices, and is not a catalogue"),
        ("SKU,Price\n1,1.234\n", "could be 1.234 or 1234"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(load, settings, text, says):
    with pytest.raises(InputError) as caught:
        load(text)
    assert says in str(caught.value)
    assert catalogue.catalogue(settings).loads == []


def test_a_column_that_is_named_has_to_be_there(load):
    with pytest.raises(InputError, match="has no column 'Sparte', which --column names"):
        load(HEADER + CUP, columns={"category": "Sparte"})
    with pytest.raises(InputError, match="A catalogue has no 'categories'"):
        load(HEADER + CUP, columns={"categories": "Category"})


def test_marks_encodings_and_kinds_of_files_are_those_of_invoices(load, settings, tmp_path):
    load(b"\xef\xbb\xbf" + (HEADER + CUP).encode())
    load((HEADER + CUP).replace("Cup;", "Käfer;").encode("utf-16"))
    load("Warengruppe\tArtikelnummer\nLichter: 20 % 💡\t'00123\nأكواب\t00124\n", columns={"category": "Warengruppe"})
    assert categories_of(settings) == {"00123": "Lichter: 20 % 💡", "00124": "أكواب", "85123A": "Kitchen > Cups"}
    frame = pl.DataFrame({"sku": [85123, 22423], "price": [2.5, None], "stock": [1, 0], "category": ["A>B", None]})
    frame.write_parquet(tmp_path / "part.parquet")
    done = catalogue.load(settings, str(tmp_path / "part.parquet"), whole=False, actor="ann")
    assert done.merged.new == 2
    assert facts(settings, "85123", "22423") == [("22423", None, None, 0.0), ("85123", "A > B", 2.5, 1.0)]
    frame.to_pandas().to_excel(tmp_path / "part.xlsx", index=False)
    done = catalogue.load(settings, str(tmp_path / "part.xlsx"), whole=False, actor="ann")
    assert done.merged.unchanged == 2


def test_categories_by_hand_count_before_those_of_the_catalogue(load, settings):
    load(HEADER + CUP + LAMP)
    with transaction(settings) as connection:
        connection.cursor().execute("insert into retail.product_category values (' 85123a', 'gifts'), ('X', 'y')")
    assert categories_of(settings) == {"22423": "Lights", "85123A": "gifts", "X": "y"}


def test_stock_tells_readers_what_is_sold_out_and_leaves_other_products_alone(load, settings, sold_out):
    hiding.tell_stock(settings, {"OTHER": True, "85123A": True}, so="")
    done = load(HEADER + CUP + LAMP)
    assert (done.sold_out, done.back) == (1, 1)
    assert sold_out() == {"OTHER", "22423"}
    assert load("sku,stock\n22423,\n").sold_out == 0  # says nothing of it
    assert sold_out() == {"OTHER", "22423"}
    load("sku,stock\n22423,1.5\n")
    assert sold_out() == {"OTHER"}
    load("sku,category\n22423,x\n")
    assert sold_out() == {"OTHER"}


def test_a_catalogue_is_stored_while_redis_is_away_and_the_watch_tells_its_stock(load, settings, sold_out):
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    with pytest.raises(ListStoreError, match="The catalogue is stored"):
        load(HEADER + CUP + LAMP, settings=away)
    assert catalogue.catalogue(settings).loads[0].stock_waits
    assert sold_out() == set()
    watch(settings)
    assert sold_out() == {"22423"}
    assert not catalogue.catalogue(settings).loads[0].stock_waits


def test_two_loads_at_once_are_one_after_the_other(load, settings, sold_out):
    texts = [
        "\n".join(["sku,stock,category", *(f"P{number},{stock},C{stock}" for number in range(500))]) for stock in (0, 1)
    ]
    threads = [
        threading.Thread(target=load, args=(text,), kwargs={"name": f"{number}.csv"})
        for number, text in enumerate(texts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(category, stock) for _, category, _, stock in facts(settings)}) == 1
    assert len(sold_out()) == (500 if facts(settings)[0][3] == 0 else 0)


def test_a_publication_has_a_key_for_each_category_and_none_without_a_catalogue(load, settings, version):
    retrain.publish(settings, version)
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        keys = f"{settings.key_prefix}:p*:category:*"
        assert list(store.scan_iter(keys)) == []
        text = "".join(f"{22000 + number},{'Kitchen > Cups' if number % 3 else 'Kitchen'}\n" for number in range(60))
        load(f"sku,category\n{text}99999,Never sold\n")
        assert refresh(settings) == 2
        names = {key.partition(":category:")[2] for key in store.scan_iter(keys)}
        assert names == {"Kitchen", "Kitchen > Cups"}
        assert check_lists(settings).problems == ()
        with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
            cups = set(shop.for_visitor(category="Kitchen > Cups", count=100).stock_codes)
            assert cups == {f"{22000 + number}" for number in range(60) if number % 3}
            found = shop.for_customer("14600", category="Kitchen", count=12)
            assert found.source == "customer"
            assert len(found.stock_codes) == 12
            assert set(found.stock_codes) <= {f"{22000 + number}" for number in range(60)}
            assert shop.for_visitor(category="Never sold").source == "none"
        # An earlier publication comes back with its categories.
        with kept_out(settings) as erased:
            assert republish(settings, registry.publications(settings)[0], erased=erased) == 3
        assert len(list(store.scan_iter(f"{settings.key_prefix}:p000003:category:*"))) == 2
        assert store.hget(f"{settings.key_prefix}:p000003:meta", "top_n") == f"{settings.top_n}"


NEW = "NEW1,Kitchen > Cups,Aga,Cup of no invoice\n"


def test_a_product_that_nobody_bought_has_a_list_of_its_own_as_long_as_it_is_in_the_catalogue(
    load, settings, version, monkeypatch
):
    retrain.publish(settings, version)
    text = "".join(f"{22000 + number},{'Kitchen > Cups' if number % 3 else 'Lamps'},,\n" for number in range(60))
    cups = {f"{22000 + number}" for number in range(60) if number % 3}
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        assert shop.for_product("NEW1", list_name="similar").source == "none"
        before = shop.for_product("22001", list_name="similar")
        load(f"sku,category,brand,name\n{text}{NEW}ODD1,Garden,,\n")
        number = refresh(settings)
        assert check_lists(settings).problems == ()
        whole = lists_of_products(settings, number)
        shop._held = None  # as if a second had passed: a publication may be quicker
        found = shop.for_product("NEW1", list_name="similar")
        assert (found.source, len(found.stock_codes)) == ("product", settings.top_n)
        assert set(found.stock_codes) <= cups
        assert set(found.reasons) == {Reason("same_category", "Kitchen > Cups")}
        page = shop.for_page(["bought_together", "similar"], product="NEW1")
        assert (page["bought_together"].source, page["similar"]) == ("none", found)
        assert shop.for_product("ODD1", list_name="similar").source == "none"
        after = shop.for_product("22001", list_name="similar")
        assert (after.stock_codes, after.reasons) == (before.stock_codes, ())

        made = prepare(settings.model_copy(update={"scoring_shards": 3}))
        with monkeypatch.context() as once:
            once.setattr(scoring, "maker_of", None)  # from what `prepare` has kept
            assert score_shards(settings, made)
        assert lists_of_products(settings, publish_parts(settings, made)) == whole

        catalogue.remove(settings, ["NEW1"])
        assert "NEW1" not in {key for key, *_ in lists_of_products(settings, refresh(settings))}
        shop._held = None
        assert shop.for_product("NEW1", list_name="similar").source == "none"


def test_a_product_that_leaves_the_catalogue_while_lists_are_made_stops_no_publication(
    load, settings, version, monkeypatch
):
    load(f"sku,category,brand,name\n22001,Kitchen > Cups,,\n{NEW}")
    check, tries = publish.check_lists, []

    def check_after_a_removal(*given, **named):
        tries.append(catalogue.remove(settings, ["NEW1"]))
        return check(*given, **named)

    monkeypatch.setattr(publish, "check_lists", check_after_a_removal)
    assert retrain.publish(settings, version) == 2
    assert tries == [["NEW1"], []]
    assert "NEW1" not in {key for key, *_ in lists_of_products(settings, 2)}


def test_newcomers_have_places_on_discover_if_the_shop_asks_for_it(load, settings, version, monkeypatch):
    retrain.publish(settings, version)
    settings = settings.model_copy(update={"new_places": 2})
    assert [codes for *_, codes in newcomers_shown(settings, refresh(settings))] == []  # there is no catalogue
    text = "".join(f"{22000 + number},{'Cups' if number % 3 else 'Lamps'},,,\n" for number in range(150))
    new = "NEW1,Cups,Cup,,\nNEW2,Lamps,Lamp,2030-01-01,\nNEW3,Cups,Cup,2011-01-01,0\nNEW4,Cups,,,\n"
    load(f"sku,category,name,launch date,stock\n{text}{new}POST,Cups,Postage,,\n")
    number = refresh(settings)
    assert check_lists(settings).problems == ()
    shown = newcomers_shown(settings, number)
    assert len(shown) > 30
    assert {name for _, name, _ in shown} == {"discover"}
    # NEW2 is not launched, NEW3 is sold out, NEW4 has no name, and POST is no product.
    assert {codes for *_, codes in shown} == {("NEW1",)}
    customer = shown[0][0]
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        found = shop.for_customer(customer, list_name="discover")
        (reason,) = (why for code, why in zip(found.stock_codes, found.reasons, strict=True) if code == "NEW1")
        assert reason.code == "alike"
        assert int(reason.evidence) % 3  # a cup
    assert found.stock_codes.index("NEW1") == 4
    answers = {each.list_name: each for each in why(settings, customer, "NEW1").answers}
    assert (answers["discover"].cause, answers["discover"].shown_at) == ("shown", 5)
    assert answers["for_you"].cause == "not sold"
    assert (
        "has 2 places for products that nobody"
        in {each.list_name: each.words for each in why(settings, customer, "NEW2").answers}["discover"]
    )

    made = prepare(settings.model_copy(update={"scoring_shards": 3}))
    with monkeypatch.context() as once:
        once.setattr(scoring, "maker_of", None)  # from what `prepare` has kept
        assert score_shards(settings, made)
    assert newcomers_shown(settings, publish_parts(settings, made)) == shown

    catalogue.remove(settings, ["NEW1"])
    changed = settings.model_copy(update={"refresh": "changed"})
    assert newcomers_shown(settings, refresh(changed)) == []


@pytest.mark.parametrize("kind", ["holdout", "order"])
def test_a_control_group_is_shown_no_newcomer_and_others_are(load, settings, version, kind):
    retrain.publish(settings, version)
    text = "".join(f"{22000 + number},Cups,\n" for number in range(150))
    load(f"sku,category,name\n{text}NEW1,Cups,Cup\n")
    more = {"list_order": "value"} if kind == "order" else {}
    design = Design("spring", "Lists sell more.", kind, 0.5, "salt", starts_at=datetime(2011, 12, 9), **more)
    experiments.start(settings, design, by="test")
    number = refresh(settings.model_copy(update={"new_places": 1}))
    share = share_of(experiments.running(settings), {row[0] for row in newcomers_shown(settings, number)})
    assert bool(share) is (kind == "order")


def newcomers_shown(settings, number):
    """The lists of customers with products that were never sold: customer, list, these products."""
    (entry,) = (each for each in registry.publications(settings) if each.number == number)
    lists = pd.concat(kept_lists(entry.url))
    lists = lists[lists["audience"] == "customer"]
    found = [
        (key, name, tuple(code for code in codes if not code.startswith("22")))
        for key, name, codes in lists[["key", "list_name", "stock_codes"]].itertuples(index=False)
    ]
    return [row for row in found if row[2]]


def lists_of_products(settings, number):
    (entry,) = (each for each in registry.publications(settings) if each.number == number)
    lists = pd.concat(kept_lists(entry.url))
    lists = lists[lists["audience"] == "product"]
    return [
        (key, name, tuple(codes), why if isinstance(why, str) else None)
        for key, name, codes, why in lists[["key", "list_name", "stock_codes", "reasons"]].itertuples(index=False)
    ]
