"""Trends of a shop with a history: a chart, a table and a CSV of each, with links to what made the points."""

import csv
import html
import io
import re

import pandas as pd
import pytest
from pydantic import SecretStr

from ncf_pipeline.columns import Lists
from ncf_pipeline.pages.recommender.charts import thinned
from ncf_pipeline.pages.recommender.trends import MOST, TRENDS
from ncf_pipeline.serving import appearances
from ncf_pipeline.storage.database import transaction

pytestmark = pytest.mark.xdist_group("recommender page")

WHO, OTHER = "14646", "17850"


@pytest.fixture
def lists(shop, tmp_path):
    """The file of the live lists: two customers of two countries, and a product's list."""
    appearances._of.cache_clear()
    rows = [
        ("customer", WHO, "for_you", ["23000", "23001"]),
        ("customer", OTHER, "for_you", ["23000", "=1+1"]),
        ("customer", OTHER, "discover", ["23002"]),
        ("product", "23000", "similar", ["23003"]),
    ]
    path = tmp_path / "lists.parquet"
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(path)
    move = "update ml.publication set url = %s where number = 14"
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(move, (path.as_uri(),))
    yield
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(move, ("memory://lists",))
    appearances._of.cache_clear()


def said(page):
    return html.unescape(" ".join(re.sub("<[^>]*>", " ", page.text).split()))


def rows_of(answer):
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.text)))


def test_every_trend_has_a_chart_with_words_a_table_and_a_csv(ask, lists):
    page = ask().get("trends")
    assert page.status_code == 200
    charted = {trend.name for trend in TRENDS}
    assert set(re.findall(r'aria-labelledby="(\w+)"', page.text)) == charted | {"exposure"}
    assert page.text.count('<svg class="field"') == len(TRENDS)
    assert page.text.count('role="img" aria-label="') >= len(TRENDS)
    for trend in TRENDS:
        assert ask().get(f"trends-{trend.name}").status_code == 200
        head, *rows = rows_of(ask().get(f"trends-{trend.name}.csv"))
        assert head == ["at", "series", "value", "low", "high", "made by", "run"]
        assert rows
    assert len(page.content) < 60_000
    assert " style=" not in page.text


def test_the_newest_values_are_in_words_for_a_screen_reader(ask, lists):
    page = html.unescape(ask().get("trends").text)
    # 0.31 + 13 weeks of 0.002, as the fixture has it; v4 and v10 were held
    assert "14 points from v1 to v14. The newest: for_you 0.3360, discover 0.1360." in page
    assert "The newest: for_you 0.1700, discover 0.0700." in page


def test_a_point_leads_to_what_made_it(ask, lists):
    page = ask().get("trends-precision").text
    assert page.index('<a href="models/v14">v14</a>') < page.index('<a href="models/v13">v13</a>')
    assert "0.3210 to 0.3510" in page
    assert 'href="data-docs/invoices/batch-000002.html"' in ask().get("trends-quarantine").text
    assert "p000014 of v14" in ask().get("trends-live").text


def test_quarantine_is_a_share_of_what_was_read_and_repeated_or_refused_files_do_not_count(ask):
    ((_, _, share, *_),) = rows_of(ask().get("trends-quarantine.csv"))[1:]
    assert float(share) == pytest.approx(402 / 543_909)
    ((_, _, lines, *_),) = rows_of(ask().get("trends-loaded.csv"))[1:]
    assert float(lines) == 543_909


def test_lines_are_counted_by_the_day_on_the_invoice(ask):
    rows = rows_of(ask().get("trends-lines.csv"))[1:]
    assert [(day, float(lines)) for day, _, lines, *_ in rows] == [
        ("2011-11-09", 8.0), ("2011-11-10", 8.0), ("2011-11-11", 8.0),
    ]  # fmt: skip


def test_exposure_is_by_product_and_by_country(ask, lists):
    page = said(ask().get("trends"))
    assert "lists of 2 of 1 customers" not in page
    assert "They show 3 different products" in page
    assert "Rabbit night light 23000 100.0%" in page
    assert re.search(r"Netherlands 1 2 Rabbit night light ?, 100%", page)
    cells = rows_of(ask().get("trends-exposure.csv"))
    assert ["all customers", "", "23000", "1.0"] in cells
    assert ["all customers", "", "'=1+1", "0.5"] in cells  # a spreadsheet must not run it
    assert ["country", "United Kingdom", "23000", "1.0"] in cells


def test_lists_whose_file_is_gone_are_said_to_be_and_the_charts_stay(ask):
    appearances._of.cache_clear()
    page = ask().get("trends")
    assert "The lists of p000014 cannot be read" in said(page)
    assert page.text.count('<svg class="field"') == len(TRENDS)


def test_without_postgres_each_trend_says_so_and_a_table_is_away_for_a_moment(ask, shop):
    gone = shop.model_copy(update={"database_url": SecretStr("postgresql://ncf:the-db-password@127.0.0.1:1/none")})
    page = ask(gone).get("trends")
    assert page.status_code == 503
    assert page.text.count('<p class="empty">') == len(TRENDS) + 1
    assert "the-db-password" not in page.text
    table = ask(gone).get("trends-precision", headers={"accept": "text/html"})
    assert (table.status_code, "<h1>" in table.text) == (503, True)


@pytest.mark.parametrize("path", ["trends-none", "trends-none.csv", "trends-..%2Fx", "trends-A"])
def test_a_trend_that_does_not_exist_is_not_found(ask, path):
    assert ask().get(path).status_code in (404, 422)


@pytest.mark.parametrize("count", [1, 2, 5, 13, 14, 26, 42])
def test_labels_are_few_enough_and_the_newest_stays(count):
    labels = thinned([f"v{number}" for number in range(count)])
    assert len(labels) == count
    assert labels[-1] == (f"v{count - 1}",)
    assert sum(map(bool, labels)) <= MOST // 2
