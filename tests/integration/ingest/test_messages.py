"""The alert about a batch, and the page to which it links."""

import re
from pathlib import Path

import pytest

from ncf_pipeline.errors import QualityError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.messages import quality_message
from ncf_pipeline.privacy import masked

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France"
ZERO = "536365,85123A,<b>HOLDER</b>,0,2010-12-01 08:26:00,2.55,17850,France"


def load(settings, *lines):
    settings.inbox_path.mkdir(exist_ok=True)
    (settings.inbox_path / "day.csv").write_text("\n".join([HEADER, *lines]))
    return ingest.ingest(settings)


def page(settings, batch_id):
    path = Path(settings.artifacts.removeprefix("file://")) / "data_docs" / "invoices" / f"batch-{batch_id:06d}.html"
    return path.read_text()


def test_the_alert_has_the_broken_rule_in_words_its_rows_examples_and_a_link(settings):
    load(settings, GOOD, *[ZERO] * 7)
    message = quality_message(settings, 1)
    assert message.splitlines()[0] == "Batch 1 (day.csv) has lines in quarantine; its other lines are merged."
    assert "- A quantity is not 0. Broken by 7 rows (quantity_is_not_zero)." in message
    assert message.count("day.csv row ") == 5
    assert "day.csv row 3: invoice_no 536365, stock_code 85123A" in message
    assert "17850" not in message
    assert "***50" in message
    assert f"Every rule: {settings.artifacts}/data_docs/invoices/batch-000001.html" in message
    assert "Every rule: " in message.splitlines()[-1]


def test_the_alert_about_a_rejected_batch_has_examples_too(settings):
    with pytest.raises(QualityError):
        load(settings, *[GOOD.replace(",6,", ",six,")] * 1200)
    message = quality_message(settings, 1)
    assert "was rejected: none of its lines was loaded" in message
    assert "quantity six" in message
    assert "17850" not in message


def test_good_batches_and_warnings_alert_nobody(settings):
    load(settings, GOOD.replace("France", "Narnia"))
    assert quality_message(settings, 1) is None


def test_the_page_of_a_batch_needs_nothing_from_elsewhere_and_names_every_rule(settings):
    load(settings, GOOD, ZERO)
    content = page(settings, 1)
    assert not re.findall(r"(?:src|href)=|@import|url\(", content)
    assert content.count("<tr><td>") == 29
    assert "critical: failed" in content
    assert "&lt;b&gt;HOLDER" in content
    assert "17850" not in content


@pytest.mark.parametrize(
    ("customer", "shown"),
    [
        ("17850", "***50"),
        ("7", "***"),
        ("12", "***"),
        ("C-1001", "***01"),
        ("anna@example.com", "***@***"),
        ("Anna", "***"),
    ],
)
def test_a_customer_is_masked(customer, shown):
    assert masked(customer) == shown
