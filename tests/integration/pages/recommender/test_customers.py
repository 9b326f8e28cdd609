"""The page of a customer: their lists, purchases, group in an experiment, and lists of earlier publications."""

import html
import re
from datetime import datetime, timedelta

import pandas as pd
import pytest
from psycopg2.extras import execute_values
from pydantic import SecretStr

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.serving import customers
from ncf_pipeline.storage.database import transaction

pytestmark = pytest.mark.xdist_group("recommender page")

PERSON = {"accept": "text/html"}
WHO = "c/ 12345678901234567890 🐇"
NEWEST = datetime(2011, 12, 9, 12, 50)


def said(page):
    words = html.unescape(" ".join(re.sub("<[^>]*>", " ", page.text).split()))
    return re.sub(r"(?<=“) | (?=[”,.:;])", "", words)


@pytest.fixture(scope="module")
def buyer(history):
    """A customer with 70 lines on one invoice, and one return, one thing for free and postage on the next."""
    long = [
        (f"A|{0}", line, "23000", "A THING", 1 + line, NEWEST - timedelta(days=1), 0.5, WHO, "EIRE", 1)
        for line in range(1, 71)
    ]
    short = [
        ("C9", 1, "23001", "SPACEBOY", -2, NEWEST, 1.5, WHO, "EIRE", 1),
        ("C9", 2, "23002", "LIGHT", 1, NEWEST, 0, WHO, "EIRE", 1),
        ("C9", 3, "post", "مصباح", 1, NEWEST, 18, WHO, "EIRE", 1),
    ]
    with transaction(history) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", [*long, *short])
    yield
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("delete from retail.invoice_line where customer_id = %s", (WHO,))


def test_pages_of_purchases_have_each_line_once_grouped_by_invoice(history, buyer):
    first = customers.purchases(history, WHO)
    assert [(each.invoice_no, len(each.lines), each.of) for each in first.invoices] == [("C9", 3, 3), ("A|0", 57, 70)]
    assert first.invoices[0].total == -2 * 1.5 + 18
    second = customers.purchases(history, WHO, first.after)
    assert [(each.invoice_no, len(each.lines), each.of) for each in second.invoices] == [("A|0", 13, 70)]
    assert second.after is None
    pieces = [line.quantity for page in (first, second) for each in page.invoices[-1:] for line in each.lines]
    assert sorted(pieces) == list(range(2, 72))
    assert customers.purchases(history, "nobody") == customers.Purchases((), None)
    for wrong in ("x", "2011-12-09|x|C9", "|1|C9"):
        with pytest.raises(InputError, match="does not exist"):
            customers.purchases(history, WHO, wrong)


def test_the_page_shows_purchases_and_no_address_or_title_has_the_id(ask, buyer):
    page = ask().post("customer", data={"number": WHO})
    words = said(page)
    assert "C9 9 Dec 2011, 12:50 · 3 lines · £15.00" in words
    assert "Spaceboy lunch box -2 × £1.50 returned" in words
    assert "Red toadstool led night light 1 × £0.00 free" in words
    assert "A|0 8 Dec 2011, 12:50 · 70 lines, 57 of them here" in words
    assert f"<h1>Customer <bdi>{WHO}</bdi></h1>" in page.text
    assert "<title>Customer ***" in page.text
    assert WHO not in re.search("<title>.*?</title>", page.text)[0]
    assert not any("123456789" in address for address in re.findall(r'(?:href|action|src)="([^"]*)"', page.text))
    assert len(page.content) < 60_000
    after = html.unescape(re.search(r'name="after" value="([^"]+)"', page.text)[1])
    following = ask().post("customer", data={"number": WHO, "after": after})
    assert "A|0 8 Dec 2011, 12:50 · 70 lines, 13 of them here" in said(following)
    broken = ask().post("customer", data={"number": WHO, "after": "x"}, headers=PERSON)
    assert (broken.status_code, "This page of purchases does not exist." in said(broken)) == (422, True)


def test_the_group_of_the_running_experiment_is_said(ask, history, buyer):
    running = experiment_registry.running(history)
    ((name, group, sees),) = customers.groups(history, WHO)
    assert name == running.design.name == "spring"
    assert f"{group} group of the experiment spring: {sees}." in said(ask().post("customer", data={"number": WHO}))
    found = {customers.groups(history, f"{number}")[0][1] for number in range(50)}
    assert found == {"treated", "control"}


def test_lists_of_earlier_publications_are_read_from_their_files(ask, shop, tmp_path):
    rows = [("customer", "14646", "for_you", ["23003", "23001"]), ("customer", "14646", "buy_again", [])]
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(tmp_path / "lists.parquet")
    move = "update ml.publication set url = %s where number = 14"
    asked = {"number": "14646", "earlier": "true"}
    assert "Its file cannot be read" in said(ask().post("customer", data=asked))
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(move, ((tmp_path / "lists.parquet").as_uri(),))
    try:
        page = ask().post("customer", data=asked)
        assert "for_you <script>alert('a name')</script>, Spaceboy lunch box buy_again empty" in said(page)
        assert "<script>alert" not in page.text
        assert "It has no list for them." in said(ask().post("customer", data=asked | {"number": "17850"}))
    finally:
        with transaction(shop) as connection, connection.cursor() as cursor:
            cursor.execute(move, ("memory://lists",))


def test_without_postgres_or_redis_the_page_shows_what_is_left(ask, shop, buyer):
    away = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    page = ask(away).post("customer", data={"number": WHO})
    assert page.status_code == 200
    assert "Redis does not answer" in said(page)
    assert "C9 9 Dec 2011" in said(page)
    gone = shop.model_copy(update={"database_url": SecretStr("postgresql://ncf:the-db-password@127.0.0.1:1/none")})
    page = ask(gone).post("customer", data={"number": "14646"})
    assert (page.status_code, "Postgres does not answer" in said(page)) == (200, True)
    assert "23000" in said(page)
    page = ask(gone.model_copy(update={"redis_url": away.redis_url})).post("customer", data={"number": "14646"})
    assert (page.status_code, "Postgres does not answer, nor does Redis" in said(page)) == (503, True)
    assert "the-db-password" not in page.text
