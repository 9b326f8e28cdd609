"""The DAG that erases a customer: its log does not name them."""

import logging

import pytest

from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(300)]

LINES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France
536366,71053,LANTERN,0,2010-12-01 08:28:00,3.39,17850,France
"""


def test_the_dag_erases_a_customer(dags, connections, caplog):
    settings = connections
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    (settings.inbox_path / "day.csv").write_text(LINES)
    dags["ingest_invoices"].test()
    caplog.clear()
    caplog.set_level(logging.INFO, logger="ncf_pipeline")

    run = dags["forget_customer"].test(run_conf={"customer": "17850", "gone": ["s3://closed/shop"]})

    (instance,) = run.get_task_instances()
    assert str(instance.state) == "success"
    assert "17850" not in "".join(each.getMessage() for each in caplog.records if each.name.startswith("ncf_pipeline"))
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select customer_id, quantity from retail.invoice_line")
        assert cursor.fetchall() == [(None, 6)]
        cursor.execute("select original ->> 'customer_id' from raw.quarantined_line")
        assert cursor.fetchall() == [(None,)]
        cursor.execute("select state, report -> 'found' ->> 'retail.invoice_line.customer_id' from retail.erasure")
        assert cursor.fetchall() == [("done", "1")]
        cursor.execute("select report -> 'gone' from retail.erasure")
        assert cursor.fetchall() == [(["s3://closed/shop"],)]
