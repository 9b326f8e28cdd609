"""Rules are changed, recorded and undone: by the page, by a file, by a command and by SQL."""

import json
from datetime import date, timedelta

import pytest

from ncf_pipeline.errors import ChangedMeanwhileError, DatabaseError, InputError
from ncf_pipeline.serving import products
from ncf_pipeline.serving.catalogue import load
from ncf_pipeline.serving.hiding import hide
from ncf_pipeline.serving.merchandising import read_rule_tables
from ncf_pipeline.serving.rules import changes, checks, files, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule, known, parsed
from ncf_pipeline.storage.database import rehearsal, transaction
from ncf_pipeline.storage.resources import query

TODAY = date.today()
SOON = TODAY + timedelta(days=7)


@pytest.fixture
def shop(settings):
    """A shop that sells two products in two countries, and describes a third."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into retail.invoice_line values
            ('1', 1, '85123A', 'HOLDER', 1, '2011-12-01', 2.55, '14600', 'United Kingdom', 1),
            ('2', 1, '22423', 'CAKESTAND', 1, '2011-12-02', 12.75, '14601', 'EIRE', 1);
            insert into retail.product values
            ('85123A', 'HOLDER', '2011-12-01'), ('22423', 'CAKESTAND', '2011-12-02'), ('24001', 'LAMP', now());
            """
        )
    return settings


def apply(settings, *rules, **change):
    return changes.apply(settings, Change(put=rules, **change), actor="anna", reason="because")


def sql(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_each_kind_of_rule_is_stored_as_the_publisher_reads_it(shop):
    put = (
        Rule("hidden", "85123A"),
        Rule("only in", "22423", ("EIRE",)),
        Rule("pinned", "24001", ("EIRE",), "discover", 2, TODAY, SOON, "new"),
        Rule("pinned", "24001", (), "for_you", 1, TODAY),
    )
    assert apply(shop, *put, limits=Limits(2, 0.5)) == 1
    tables = read_rule_tables(shop, TODAY)
    assert tables.unlisted == {"85123A"}
    assert tables.only_in == {"22423": {"EIRE"}}
    assert [(pin.stock_code, pin.list_name, pin.country, pin.position) for pin in tables.pins] == [
        ("24001", "for_you", None, 1),
        ("24001", "discover", "EIRE", 2),
    ]
    assert (tables.max_per_family, tables.min_price) == (2, 0.5)
    assert set(changes.rules(shop)) == set(put)
    assert changes.limits(shop) == Limits(2, 0.5)


def pair(code, beside, position=1, **fields):
    return Rule("pinned beside", code, (), "bought_together", position, TODAY, beside=beside, **fields)


def test_a_pinned_pair_is_stored_found_by_both_products_and_undone(shop):
    seen = changes.newest_change(shop)
    made = apply(shop, pair("22423", "85123A"), pair("24001", "85123A", 2, ends_on=SOON, note="new"))
    assert [(pin.stock_code, pin.beside, pin.position) for pin in read_rule_tables(shop, TODAY).pins] == [
        ("22423", "85123A", 1),
        ("24001", "85123A", 2),
    ]
    assert apply(shop, pair("22423", "85123A")) is None
    words = f"+ 22423 pinned beside 85123A to place 1 of bought_together from {TODAY}"
    for code in ("22423", "85123A"):
        assert changes.history(shop, stock_code=code)[0].words[0] == words
    of_one = Change(put=(Rule("hidden", "85123A"),))
    with pytest.raises(ChangedMeanwhileError, match="anna changed this too"):
        changes.apply(shop, of_one, actor="ben", reason=None, seen=seen)
    text = files.written(changes.rules(shop), today=TODAY)
    assert "pinned beside,22423,,bought_together,1" in text
    assert files.read(shop, text.encode(), today=TODAY) == changes.rules(shop)
    assert Change.from_dict(Change(put=(pair("22423", "85123A"),)).as_dict()).put == (pair("22423", "85123A"),)
    changes.undo(shop, made, actor="anna")
    assert changes.rules(shop) == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"beside": ""}, "beside: write the code of the product on whose list it is."),
        ({"beside": " 22423"}, "beside: 22423 cannot be on its own list."),
        ({"list": "for_you"}, "list: 'for_you' is not one of bought_together."),
        ({"countries": ["EIRE"]}, "countries: the list of a product is the same in every country."),
        ({"rule": "pinned"}, "beside: only 'pinned beside' has another product."),
        ({"rule": "hidden"}, "beside: only 'pinned beside' has another product."),
    ],
)
def test_what_is_no_pair_is_refused(written, says):
    with pytest.raises(InputError) as refused:
        parsed({"rule": "pinned beside", "stock_code": "22423", "beside": "85123A"} | written, today=TODAY)
    assert says in str(refused.value)


def test_postgres_refuses_what_is_no_pair(shop):
    for columns, values in (
        ("stock_code, list_name", "'22423', 'bought_together'"),
        ("stock_code, beside", "'22423', '85123A'"),
        ("stock_code, list_name, beside", "'22423', 'bought_together', ' 22423'"),
        ("stock_code, list_name, beside, country", "'22423', 'bought_together', '85123A', 'EIRE'"),
    ):
        with pytest.raises(DatabaseError):
            sql(shop, f"insert into retail.pinned_product ({columns}) values ({values})")


def test_pairs_that_cannot_be_shown_are_found(shop):
    apply(shop, Rule("only in", "22423", ("EIRE",)), pair("22423", "85123A"), pair("85123A", "TYPO"))
    assert [finding.why for finding in checks.findings(shop)] == [
        "It is never shown: 22423 is only shown in some countries, and the list of a product is the same in every "
        "country.",
        "The shop never sold TYPO, and has no description of it.",
    ]


def test_what_is_so_already_is_no_change(shop):
    rules = (
        Rule("hidden", "85123A"),
        Rule("only in", "22423", ("EIRE",)),
        Rule("pinned", "24001", (), "for_you", 1, TODAY),
    )
    assert apply(shop, *rules) == 1
    assert apply(shop, *rules, limits=Limits()) is None
    assert len(changes.history(shop)) == 1


def test_a_rule_takes_the_place_of_the_one_that_the_product_has_in_any_spelling(shop):
    sql(shop, "insert into retail.unlisted_product values (' 85123a', 'out of stock')")
    sql(shop, "insert into retail.product_country values ('22423', 'EIRE'), ('22423', 'France')")
    apply(
        shop,
        Rule("discontinued", "85123A", ends_on=SOON, note="gone"),
        Rule("only in", "22423", ("EIRE", "United Kingdom")),
    )
    assert changes.rules(shop) == [
        Rule("only in", "22423", ("EIRE", "United Kingdom")),
        Rule("discontinued", "85123A", ends_on=SOON, note="gone"),
    ]


def test_who_changed_what_and_why_is_recorded_also_of_sql(shop, today):
    apply(shop, Rule("hidden", "85123A"), limits=Limits(2, None))
    sql(shop, "insert into retail.pinned_product (stock_code) values ('22423')")
    sql(shop, "truncate retail.pinned_product")
    truncated, by_sql, by_anna = changes.history(shop)
    assert (by_anna.actor, by_anna.reason, by_anna.changed_rows) == ("anna", "because", 2)
    assert by_anna.words == ("+ 85123A hidden", "Limits: variants in a list 2, lowest price no limit")
    assert (by_sql.actor != "anna", by_sql.reason) == (True, None)
    assert truncated.words == (f"− 22423 pinned to place 1 of for_you for everyone from {today}",)
    assert [each.change_id for each in changes.history(shop, stock_code="85123A")] == [by_anna.change_id]
    assert [each.change_id for each in changes.history(shop, before=truncated.change_id, most=1)] == [by_sql.change_id]


def test_every_change_can_be_undone_and_the_undoing_too(shop):
    before = (Rule("hidden", "85123A", note="old"), Rule("pinned", "22423", (), "for_you", 3, TODAY))
    apply(shop, *before)
    pin = next(rule for rule in changes.rules(shop) if rule.kind == "pinned")
    second = apply(shop, Rule("out of stock", "85123A", ends_on=SOON), remove=(pin.key,), limits=Limits(1, 0.25))
    assert set(changes.rules(shop)) == {Rule("out of stock", "85123A", ends_on=SOON)}
    undoing = changes.undo(shop, second, actor="ben")
    assert set(changes.rules(shop)) == set(before)
    assert changes.limits(shop) == Limits()
    assert changes.history(shop)[0].undoes == second
    assert changes.history(shop)[1].undone_by == undoing
    with pytest.raises(InputError, match=f"undone already, by change {undoing}"):
        changes.undo(shop, second, actor="ben")
    changes.undo(shop, undoing, actor="ben")
    assert set(changes.rules(shop)) == {Rule("out of stock", "85123A", ends_on=SOON)}
    assert changes.limits(shop) == Limits(1, 0.25)


def test_a_code_that_was_never_sold_is_looked_up_by_index(shop):
    sold = """
        insert into retail.invoice_line
        select 'L' || n, 1, 'P' || n % 4000, 'A THING', 1, '2011-12-03', 1, null, 'EIRE', 1
        from generate_series(1, 20000) as n"""
    sql(shop, sold)
    sql(shop, "analyze retail.invoice_line")
    assert known(shop, ["p7", "P7", "99999", "24001"]).unknown_products == {"p7", "99999"}
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(f"explain {query('unknown_products')}", {"stock_codes": ["99999", "99998"]})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "invoice_line_by_product" in plan
    assert "Seq Scan on invoice_line" not in plan


def test_a_product_that_only_the_catalogue_knows_is_found_ruled_pinned_and_hidden(shop, tmp_path):
    file = tmp_path / "products.csv"
    file.write_text("Code,Name,Price\n30001,RABBIT LAMP,9.95\n30002,,1.00\n85123A,ANOTHER NAME,1.00\n")
    load(shop, str(file), whole=True, actor="anna")
    assert known(shop, ["30001", "30002", "30003"]).unknown_products == {"30003"}
    assert hide(shop, ["30001", "30003"], actor="anna", country="EIRE") == ["30003"]
    assert [each.stock_code for each in products.search(shop, "lamp").products] == ["24001", "30001"]
    assert products.product(shop, "30001").description == "RABBIT LAMP"
    assert products.product(shop, "85123A").description == "HOLDER"
    apply(
        shop,
        Rule("only in", "30002", ("EIRE",)),
        *(Rule("pinned", code, (), "for_you", 1, TODAY) for code in ("30001", "30002")),
    )
    assert checks.findings(shop) == []
    tables = read_rule_tables(shop, TODAY)
    assert {pin.stock_code for pin in tables.pins} == {"30001", "30002"}
    assert tables.undescribed == {"30002"}


def test_what_undoing_would_do_is_said_and_nothing_is_changed(shop):
    before = (Rule("hidden", "85123A", note="old"), Rule("pinned", "22423", (), "for_you", 3, TODAY))
    apply(shop, *before)
    pin = next(rule for rule in changes.rules(shop) if rule.kind == "pinned")
    only = Rule("only in", "22423", ("France",))
    second = apply(shop, Rule("out of stock", "85123A"), only, remove=(pin.key,), limits=Limits(1, 0.25))
    after, newest = changes.rules(shop), changes.newest_change(shop)
    change = changes.undoing(shop, second)
    assert (set(change.put), change.remove) == (set(before), (only.key,))
    assert (change.limits, change.undoes) == (Limits(), second)
    assert set(previews.after(after, change)) == set(before)
    assert Change.from_dict(json.loads(json.dumps(change.as_dict()))) == change
    assert (changes.rules(shop), changes.newest_change(shop)) == (after, newest)
    apply(shop, Rule("hidden", "85123A"))
    with pytest.raises(InputError, match="changed again since"):
        changes.undoing(shop, second)


def test_a_preview_of_an_undoing_is_saved_as_one(shop):
    first = apply(shop, Rule("hidden", "85123A"))
    change = changes.undoing(shop, first)
    one, two = (previews.ask(shop, change, asked_by="anna", reason="a mistake", seen=first) for _ in range(2))
    made = previews.save(shop, one, actor="ben")
    assert changes.rules(shop) == []
    (newest, _) = changes.history(shop)
    assert (newest.change_id, newest.undoes, newest.actor, newest.reason) == (made, first, "ben", "a mistake")
    with pytest.raises(InputError, match="undone already"):
        previews.save(shop, two, actor="ben")


def test_what_was_changed_again_since_is_not_undone(shop):
    first = apply(shop, Rule("hidden", "85123A"))
    apply(shop, Rule("out of stock", "85123A"))
    with pytest.raises(InputError, match="changed again since"):
        changes.undo(shop, first, actor="anna")
    assert changes.rules(shop) == [Rule("out of stock", "85123A")]
    with pytest.raises(InputError, match="no change 99"):
        changes.undo(shop, 99, actor="anna")


def test_whoever_has_not_seen_the_newest_change_of_the_product_saves_nothing(shop):
    seen = changes.newest_change(shop)
    apply(shop, Rule("hidden", "85123A"))
    other = Change(put=(Rule("hidden", "22423"),))
    assert changes.apply(shop, other, actor="ben", reason=None, seen=seen) is not None
    mine = Change(put=(Rule("discontinued", "85123A"),))
    with pytest.raises(ChangedMeanwhileError, match="anna changed this too"):
        changes.apply(shop, mine, actor="ben", reason=None, seen=seen)
    everything = Change(put=(), replaces_all=True)
    with pytest.raises(ChangedMeanwhileError):
        changes.apply(shop, everything, actor="ben", reason=None, seen=seen)
    assert set(changes.rules(shop)) == {Rule("hidden", "85123A"), Rule("hidden", "22423")}


def test_a_rule_that_somebody_removed_meanwhile_is_named(shop):
    with pytest.raises(InputError, match="no rule 'out 85123A' any more"):
        changes.apply(shop, Change(remove=("out 85123A",)), actor="anna", reason=None)


def test_a_rehearsal_leaves_no_rule_and_no_change(shop):
    with rehearsal(shop):
        assert apply(shop, Rule("hidden", "85123A")) is not None
        assert read_rule_tables(shop, TODAY).unlisted == {"85123A"}
    assert (changes.rules(shop), changes.history(shop)) == ([], [])


def test_a_change_survives_json(shop):
    change = Change(
        (Rule("pinned", "22423", ("EIRE",), "discover", 2, TODAY, SOON, "x"), Rule("hidden", "85123A")),
        ("out 24001",),
        Limits(2, 0.5),
        True,
    )
    assert Change.from_dict(change.as_dict()) == change


def test_rules_that_match_nothing_are_found(shop, today):
    sql(
        shop,
        """
        insert into retail.unlisted_product (stock_code, why) values ('85123B', 'excluded'), ('22423', 'discontinued');
        insert into retail.unlisted_product values ('ZZZ', 'excluded', '2020-01-01');
        insert into retail.product_country values ('85123A', 'Untied Kingdom'), ('24001', 'EIRE'), ('24001', 'Mars');
        insert into retail.pinned_product (stock_code, country) values ('22423', null), ('24001', 'United Kingdom');
        insert into retail.excluded_stock_code values ('SAMPLE*', 'samples');
        """,
    )
    assert [str(finding) for finding in checks.findings(shop)] == [
        f"22423 pinned to place 1 of for_you for everyone from {today}: "
        "It is never shown, because 22423 is discontinued.",
        "24001 only in EIRE, Mars: Nobody orders from Mars.",
        f"24001 pinned to place 1 of for_you in United Kingdom from {today}: "
        "It is never shown: 24001 is only shown in other countries.",
        "85123A only in Untied Kingdom: Nobody orders from Untied Kingdom. Did you mean United Kingdom? "
        "So no list would show 85123A anywhere.",
        "85123B hidden: The shop never sold 85123B, and has no description of it. Did you mean 85123A?",
        "SAMPLE* in retail.excluded_stock_code: No product of the shop matches it. Correct or delete that row.",
    ]


def test_a_file_goes_there_and_back(shop):
    put = (
        Rule("hidden", "85123A", note="=1+1"),
        Rule("only in", "22423", ("EIRE", "United Kingdom")),
        Rule("pinned", "24001", ("EIRE",), "discover", 2, TODAY, SOON, 'a, "b" – نور'),
    )
    apply(shop, *put)
    sql(shop, "insert into retail.unlisted_product values ('22423', 'excluded', '2020-01-01')")
    text = files.written(changes.rules(shop), today=TODAY)
    assert "'=1+1" in text
    assert files.read(shop, text.encode(), today=TODAY) == sorted(put, key=lambda rule: rule.stock_code)
    rows = files.read(shop, text.replace(",", ";").replace('"a; ""b""', '"a, ""b""').encode("utf-8-sig"), today=TODAY)
    change = Change(tuple(rows), replaces_all=True)
    assert changes.apply(shop, change, actor="anna", reason=None) is not None  # what is over is removed
    assert set(changes.rules(shop)) == set(put)
    assert changes.apply(shop, change, actor="anna", reason=None) is None


def test_each_wrong_row_of_a_file_has_a_line_and_nothing_is_read(shop):
    content = (
        "Rule,Stock_code,countries,until\n"
        "hidden,85123a,,\n"
        "hiden,85123A,,\n"
        "\n"
        "discontinued,85123A,,soon\n"
        "only in,22423,Ireland | Frence,\n"
        "only in,22424,EIRE,\n"
        "out of stock,85123A,,\n"
    )
    with pytest.raises(InputError) as error:
        files.read(shop, content.encode(), today=TODAY)
    assert str(error.value).splitlines() == [
        "5 rows are wrong, so nothing was changed.",
        "Row 3: rule: 'hiden' is not one of hidden, out of stock, discontinued, only in, pinned, pinned beside.",
        "Row 5: until: 'soon' is not a day: write it as 2026-12-24.",
        "Row 6: Nobody orders from Frence. Nobody orders from Ireland. So no list would show 22423 anywhere.",
        "Row 7: The shop never sold 22424, and has no description of it. Did you mean 22423?",
        "Row 8: 85123A: row 2 has the same rule, or one that says otherwise.",
    ]
    assert len(files.read(shop, b"rule\tstock_code\thidden"[:-7] + b"\nhidden\t99999\n", today=TODAY, anyway=True)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks rule, stock_code"),
        (b"rule,stock_code,colour\n", "has 'colour'"),
        (b"rule,stock_code,rule\n", "one twice"),
        (b"rule,stock_code\nhidden,1,2\n", "Row 2 has 3 cells, and the first row 2"),
        (b"PK\x03\x04\x00\x00", "is no text"),
        (b"rule,stock_code\nhidden,\xff\n", "not UTF-8"),
    ],
)
def test_what_is_no_such_file_is_said(shop, content, words):
    with pytest.raises(InputError, match=words):
        files.read(shop, content, today=TODAY)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"rule": ""}, "rule: nothing is not one of"),
        ({"rule": "hidden"}, "stock_code: write the code"),
        ({"rule": "hidden", "stock_code": "1\x00"}, "stock_code: write the code"),
        ({"rule": "hidden", "stock_code": "1", "countries": ["EIRE"]}, "is for every country"),
        ({"rule": "hidden", "stock_code": "1", "until": "2020-01-01"}, "is not after today"),
        ({"rule": "hidden", "stock_code": "1", "position": "1"}, "position: only a pin has a position"),
        ({"rule": "only in", "stock_code": "1"}, "name at least one country"),
        ({"rule": "only in", "stock_code": "1", "countries": ["EIRE"], "note": "x"}, "note: 'only in' has none"),
        ({"rule": "pinned", "stock_code": "1", "list": "buy_again"}, "'buy_again' is not one of for_you"),
        ({"rule": "pinned", "stock_code": "1", "position": "0"}, "'0' is not a whole number from 1 to 100"),
        ({"rule": "pinned", "stock_code": "1", "position": "²"}, "is not a whole number"),
        ({"rule": "pinned", "stock_code": "1", "from": "2999-01-02", "until": "2999-01-02"}, "not after the first day"),
        ({"rule": "pinned", "stock_code": "1", "countries": ["EIRE", "France"]}, "for one country"),
        ({"rule": "pinned", "stock_code": "1", "until": "31/12/2999"}, "'31/12/2999' is not a day"),
        ({"rule": "hidden", "stock_code": "1", "note": "x" * 501}, "note: write up to 500"),
    ],
)
def test_a_mistake_is_a_sentence(written, words):
    with pytest.raises(InputError, match=words):
        parsed(written, today=TODAY)
