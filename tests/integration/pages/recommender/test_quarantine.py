"""The page of lines in quarantine: seen, corrected, discarded, by workbook; refused without permission, or if stale."""

import html
import io
import re
from threading import Barrier, Thread

import openpyxl
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import SecretStr
from shown_words import words
from web_server import serving

from ncf_pipeline import alerts
from ncf_pipeline.errors import DatabaseUnavailableError
from ncf_pipeline.ingest import requests, stages
from ncf_pipeline.ingest.corrections import discard_lines, quarantined_lines
from ncf_pipeline.pages.forms import Access, form_token
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

KEY = b"a key of the test"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France"
ZERO = "536365,71053,LANTERN,0,2010-12-01 08:26:00,3.39,17850,France"
SIX = "536365,84406B,HANGER,six,2010-12-01 08:26:00,2.75,17850,France"
NEGATIVE = [f"53637{n},22423,<b>STAND</b>,1,2010-12-01 09:0{n}:00,-{n}.5,13047,France" for n in (1, 2)]
RULE = "unit_price_is_not_negative"


TABLES = (
    "raw.batch",
    "raw.batch_file",
    "raw.quarantined_line",
    "raw.quarantine_request",
    "retail.invoice",
    "retail.invoice_line",
    "retail.product",
    "ops.incident",
)


@pytest.fixture(scope="module")
def loaded(fresh_settings, tmp_path_factory):
    """A shop of which four lines wait: 1 to 4; with a copy of its tables, so that it is loaded once."""
    folder = tmp_path_factory.mktemp("shop")
    with fresh_settings(folder) as settings:
        (folder / "day.csv").write_text("\n".join([HEADER, GOOD, ZERO, SIX, *NEGATIVE]))
        stages.ingest(settings, [str(folder / "day.csv")])
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("create schema kept")
            for table in TABLES:
                cursor.execute(f"create table kept.{table.partition('.')[2]} as table {table}")
        yield settings


@pytest.fixture
def shop(loaded):
    """The same shop, as it was loaded."""
    with transaction(loaded) as connection, connection.cursor() as cursor:
        cursor.execute(f"truncate {', '.join(TABLES)} restart identity cascade")
        for table in TABLES:
            name = table.partition(".")[2]
            cursor.execute(f"insert into {table} overriding system value table kept.{name}")
        for table, column in (("raw.batch", "batch_id"), ("raw.quarantined_line", "quarantine_id")):
            cursor.execute(f"select setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) from {table}")
    return loaded


@pytest.fixture
def ask():
    """Makes a client of the page for `anna`; a worker carries a request out at once, or what `start` says happens."""

    def of(settings, *, may_see=True, may_change=True, start="work", who="anna"):
        def work(request, dag_id, conf):
            assert dag_id == "correct_quarantine"
            if isinstance(start, Exception):
                raise start
            if start == "work":
                stages.release_request(settings, conf["request"])
            return start != "paused"

        access = Access(lambda: may_change, lambda: who, KEY, work, lambda: may_see)
        app = FastAPI()
        app.mount("/recommender", create_app(lambda: settings, settles_lines=access))
        client = TestClient(app, base_url="http://shop.example/recommender/")
        client.headers["accept"] = "text/html"
        return client

    return of


def form(**fields):
    return {"token": form_token(KEY, "anna"), **fields}


def states(settings):
    return {line.quarantine_id: line.state for line in quarantined_lines(settings, state=None)}


def quantities(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select stock_code, quantity from retail.invoice_line order by stock_code")
        return dict(cursor.fetchall())


def test_the_overview_leads_from_the_alert_to_the_lines_by_batch_and_rule(ask, shop):
    client = ask(shop)
    overview = client.get("")
    address = re.search(r'<a href="(quarantine\?batch=1)">Correct or discard the lines</a>', overview.text)
    page = client.get(html.unescape(address[1]))
    assert page.status_code == 200
    assert len(page.content) < 60_000
    assert f"{RULE} batch 1 day.csv" in words(page)
    assert "4 lines of batch 1" in words(page)
    assert "<b>STAND" not in page.text
    of_rule = client.get("quarantine", params={"batch": 1, "rule": RULE})
    assert re.findall(r'href="quarantine-line-(\d)"', of_rule.text) == ["3", "4"]
    assert f"Discard all 2 lines that broke {RULE} of batch 1" in words(of_rule)


def test_a_corrected_cell_goes_through_the_stages_and_the_record_says_who_and_why(ask, shop):
    client = ask(shop)
    line = client.get("quarantine-line-1")
    assert "A quantity is not 0." in words(line)
    assert "Invoice 536365 is stored with 1 line, and without this one." in words(line)
    sent = dict(re.findall(r'<input id="([a-z_]+)" name="[a-z_]+" maxlength="2000"[^>]* value="([^"]*)"', line.text))
    assert sent["quantity"] == "0"
    assert "Quantity (breaks a rule)" in words(line)
    assert re.findall(r'<input id="([a-z_]+)"[^>]*aria-invalid', line.text) == ["quantity"]
    done = client.post("quarantine-release", data=form(line="1", **sent | {"quantity": "4"}, reason="a typing mistake"))
    assert done.url.path == "/recommender/quarantine-request-1"
    assert "Released. It is loaded with batch 2." in words(done)
    assert quantities(shop)["71053"] == 4
    (record,) = requests.history(shop)
    assert (record.actor, record.reason, record.changes) == ("anna", "a typing mistake", {"quantity": "4"})
    assert "Release line 1 , with quantity corrected. “ a typing mistake ”" in words(client.get("quarantine"))
    settled = client.get("quarantine-line-1")
    assert "0 → 4" in words(settled)
    assert "quarantine-release" not in settled.text


def test_a_line_that_is_still_broken_waits_under_a_new_number_and_the_page_leads_there(ask, shop):
    client = ask(shop)
    done = client.post("quarantine-release", data=form(line="2", quantity="half a dozen"))
    assert "1 still waits, under a new number." in words(done)
    (again,) = quarantined_lines(shop, batch_id=2)
    assert f'href="quarantine-line-{again.quarantine_id}"' in done.text
    assert "Quantity holds 'half a dozen'" in words(done)


def test_a_line_is_discarded_with_a_reason_and_not_without(ask, shop):
    client = ask(shop)
    without = client.post("quarantine-discard", data=form(line="1", reason=" "))
    assert without.status_code == 422
    assert "Say why the lines are discarded" in words(without)
    done = client.post("quarantine-discard", data=form(line="1", reason="a test order"))
    assert "Discarded." in words(done)
    (line,) = quarantined_lines(shop, state="discarded")
    assert line.note == "a test order"
    assert [(record.action, record.actor) for record in requests.history(shop)] == [("discard", "anna")]


def test_all_lines_of_a_rule_are_discarded_at_once_and_the_incident_ends_with_the_last(ask, shop):
    client = ask(shop)
    page = client.get("quarantine", params={"rule": RULE})
    fields = dict(re.findall(r'<input type="hidden" name="(rule|count|up_to)" value="([^"]*)"', page.text))
    done = client.post("quarantine-all", data=form(**fields, then="discard", reason="bad debt"))
    assert "Discard 2 lines" in words(done)
    assert states(shop) == {1: "waiting", 2: "waiting", 3: "discarded", 4: "discarded"}
    assert len(alerts.incidents(shop)) == 1
    client.post("quarantine-discard", data=form(line="1", reason="x"))
    client.post("quarantine-discard", data=form(line="2", reason="x"))
    assert alerts.incidents(shop) == []
    assert "No line waits." in words(client.get("quarantine"))


def test_all_of_a_batch_are_checked_again_as_they_are(ask, shop):
    page = words(ask(shop).post("quarantine-all", data=form(batch="1", count="4", up_to="4", then="release")))
    assert "4 still wait, under new numbers." in page


def test_a_stale_form_is_refused_with_who_was_faster(ask, shop):
    client = ask(shop)
    discard_lines(shop, [1], note="a test order", actor="ben")
    for path, fields in (("quarantine-release", {"quantity": "4"}), ("quarantine-discard", {"reason": "x"})):
        refused = client.post(path, data=form(line="1", **fields))
        assert refused.status_code == 409
        assert re.search(
            r"Line 1 was discarded by ben on [0-9-]+ at [0-9:]+: a test order\. Nothing was", words(refused)
        )
    all_of_them = client.post("quarantine-all", data=form(batch="1", count="4", up_to="4", then="discard", reason="x"))
    assert all_of_them.status_code == 409
    assert "4 lines waited when you opened the page, and 3 of them wait now." in words(all_of_them)
    assert states(shop) == {1: "discarded", 2: "waiting", 3: "waiting", 4: "waiting"}
    assert client.post("quarantine-discard", data=form(line="99", reason="x")).status_code == 404
    assert len(requests.history(shop)) == 1


def test_of_two_people_at_once_one_is_told_of_the_other_and_may_take_the_request_back(ask, shop):
    first = ask(shop, start="later")
    waits = first.post("quarantine-release", data=form(line="1", quantity="4"))
    assert "It waits for a worker of Airflow." in words(waits)
    refused = ask(shop).post("quarantine-discard", data=form(line="1", reason="x"))
    assert refused.status_code == 409
    assert "anna has asked to release line 1 already (request 1), and it is not done yet." in words(refused)
    back = ask(shop).post("quarantine-drop", data=form(request="1"))
    assert "Taken back." in words(back)
    assert stages.release_request(shop, 1) is None
    assert states(shop)[1] == "waiting"
    assert ask(shop).post("quarantine-drop", data=form(request="1")).status_code == 409


def test_a_race_of_two_discards_has_one_winner(ask, shop):
    barrier, codes = Barrier(2), []

    def press():
        client = ask(shop)
        barrier.wait()
        codes.append(client.post("quarantine-discard", data=form(line="1", reason="x")).status_code)

    threads = [Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 409]
    assert len(requests.history(shop)) == 1


def workbook(client, change):
    """The downloaded workbook, after `change` of its sheet."""
    answer = client.get("quarantine.xlsx")
    assert answer.headers["content-disposition"] == 'attachment; filename="quarantine.xlsx"'
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    change(book.active)
    sent = io.BytesIO()
    book.save(sent)
    return {"file": ("corrected.xlsx", sent.getvalue())}


def test_a_workbook_goes_out_and_comes_back_corrected(ask, shop):
    client = ask(shop)

    def correct(sheet):
        sheet["E2"], sheet["E3"] = 4, "6"
        sheet.delete_rows(4, 2)

    done = client.post("quarantine-upload", data=form(reason="as the shop says"), files=workbook(client, correct))
    assert "Released. They are loaded with batch 2." in words(done), words(done)
    assert quantities(shop) == {"85123A": 6, "71053": 4, "84406B": 6}
    assert states(shop) == {1: "released", 2: "released", 3: "waiting", 4: "waiting"}
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select by_workbook, workbook, actor, reason from raw.quarantine_request")
        assert cursor.fetchall() == [(True, None, "anna", "as the shop says")]


def test_a_workbook_is_refused_that_corrects_nothing_or_what_is_settled(ask, shop):
    client = ask(shop)
    stale = workbook(client, lambda sheet: None)
    discard_lines(shop, [1], note="a test order", actor="ben")
    refused = client.post("quarantine-upload", data=form(), files=stale)
    assert refused.status_code == 409
    assert "Line 1 was discarded by ben" in words(refused)

    def without_number(sheet):
        sheet["A2"] = None

    for files, says in (
        (workbook(client, without_number), "has no Quarantine ID"),
        ({"file": ("day.csv", b"a,b\n1,2\n")}, "is not a workbook"),
        ({"file": ("big.xlsx", b"0" * ((10 << 20) + 1))}, "is larger than 10 MB"),
    ):
        refused = client.post("quarantine-upload", data=form(), files=files)
        assert (refused.status_code, says in words(refused)) == (422, True), words(refused)
    assert set(states(shop).values()) == {"waiting", "discarded"}


def test_lines_are_paged_by_their_numbers(ask, settings, tmp_path):
    lines = [ZERO.replace("536365", str(600000 + number)) for number in range(60)]
    good = [GOOD.replace("536365", str(700000 + number)) for number in range(600)]
    (tmp_path / "day.csv").write_text("\n".join([HEADER, *good, *lines]))
    stages.ingest(settings, [str(tmp_path / "day.csv")])
    client, address, seen = ask(settings), "quarantine", []
    while address:
        page = client.get(address)
        seen += re.findall(r'href="quarantine-line-(\d+)"', page.text)
        onward = re.search(r'href="(quarantine[^"]*)#lines">Next lines', page.text)
        address = html.unescape(onward[1]) if onward else None
    assert seen == [str(number) for number in range(1, 61)]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("quarantine-release", {"line": "1", "quantity": "4"}),
        ("quarantine-discard", {"line": "1", "reason": "x"}),
        ("quarantine-all", {"batch": "1", "count": "4", "up_to": "4", "then": "discard", "reason": "x"}),
        ("quarantine-drop", {"request": "1"}),
    ],
)
def test_what_changes_something_needs_permission_a_token_and_the_own_site(ask, shop, path, fields):
    for may in ({"may_see": False}, {"may_change": False}):
        refused = ask(shop, **may).post(path, data=form(**fields))
        assert refused.status_code == 403
        assert "the permission to edit Recommender quarantine" in words(refused)
    assert ask(shop).post(path, data=fields).status_code == 403
    of_ben = ask(shop, who="ben").post(path, data=form(**fields))
    assert "was not made for you" in words(of_ben)
    other = ask(shop).post(path, data=form(**fields), headers={"origin": "https://evil.example"})
    assert "comes from another site" in words(other)
    assert set(states(shop).values()) == {"waiting"}
    assert requests.history(shop) == []


def test_whoever_may_not_see_lines_sees_counts_and_no_customer(ask, shop):
    discard_lines(shop, [2], note="customer 17850 rang up", actor="ben")
    client = ask(shop, may_see=False)
    page = client.get("quarantine")
    assert page.status_code == 200
    assert f"{RULE} batch 1 day.csv" in words(page)
    assert "needs the permission to read Recommender quarantine" in words(page)
    for shown in (page, client.get("quarantine-request-1"), client.get("quarantine", params={"rule": RULE})):
        assert "17850" not in shown.text
        assert "quarantine-line-" not in shown.text
    for path in ("quarantine-line-1", "quarantine.xlsx"):
        assert client.get(path).status_code == 403


def test_nothing_waits_for_a_run_that_airflow_refuses_to_start(ask, shop):
    refused = ask(shop, start=HTTPException(403, "You may not start correct_quarantine.")).post(
        "quarantine-release", data=form(line="1", quantity="4")
    )
    assert (refused.status_code, "You may not start" in words(refused)) == (403, True)
    assert requests.history(shop)[0].state == "dropped"
    paused = ask(shop, start="paused").post("quarantine-release", data=form(line="1", quantity="4"))
    assert "correct_quarantine is switched off in Airflow." in words(paused)


def test_a_request_that_fails_says_why_and_can_be_tried_again(shop, monkeypatch):
    number = requests.ask(shop, [1], actor="anna", reason=None, changes={"quantity": "4"})
    with monkeypatch.context() as patch:
        patch.setattr(
            stages, "write_corrections", lambda *given: (_ for _ in ()).throw(DatabaseUnavailableError("away"))
        )
        with pytest.raises(DatabaseUnavailableError):
            stages.release_request(shop, number)
    assert (requests.request(shop, number).state, requests.request(shop, number).error) == ("failed", "away")
    assert stages.release_request(shop, number) == 2
    assert requests.request(shop, number).state == "done"


def test_a_worker_that_was_killed_before_it_recorded_the_batch_does_so_at_the_next_try(shop, monkeypatch):
    number = requests.ask(shop, [1], actor="anna", reason=None, changes={"quantity": "4"})
    with monkeypatch.context() as patch:
        patch.setattr(requests, "finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stages.release_request(shop, number)
    assert requests.request(shop, number).state == "running"
    assert stages.release_request(shop, number) == 2
    assert (requests.request(shop, number).state, requests.request(shop, number).batch_id) == ("done", 2)


def test_with_postgres_away_the_page_says_so_and_redis_does_not_matter(ask, shop):
    away = shop.model_copy(update={"database_url": SecretStr("postgresql://nobody:secret@127.0.0.1:1/none")})
    answer = ask(away).get("quarantine")
    assert answer.status_code == 503
    assert "Postgres does not answer" in words(answer)
    assert "secret" not in answer.text
    without_redis = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert ask(without_redis).get("quarantine").status_code == 200


def test_what_there_is_not_is_not_found(ask, shop):
    for path in ("quarantine-line-99", "quarantine-request-99", "quarantine-line-x"):
        assert ask(shop).get(path).status_code in (404, 422)


@pytest.fixture
def opened(shop, page):
    """The address of the page for `anna`, on a server, and a page of a browser."""
    app = FastAPI()
    access = Access(lambda: True, lambda: "anna", KEY)
    app.mount("/recommender", create_app(lambda: shop, settles_lines=access))
    with serving(app) as address:
        yield f"{address}/recommender/"


def test_by_keyboard_alone_from_the_lines_to_a_discarded_one(opened, page, tab_to, shop):
    page.goto(f"{opened}quarantine")
    tab_to("Line 2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/quarantine-line-2")
    assert page.locator("#quantity[aria-invalid=true]").input_value() == "six"
    page.focus("#discard-why")
    page.keyboard.type("a test order")
    page.keyboard.press("Enter")
    page.wait_for_url("**/quarantine-request-1")
    assert "Discarded." in page.inner_text("[role=status]")
    assert states(shop)[2] == "discarded"
