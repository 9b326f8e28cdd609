"""For any content of files: read = merged + unchanged + quarantined, and every good line is stored exactly once."""

import csv
import io

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.storage.database import transaction

NAMES = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
USUAL = {
    "InvoiceNo": st.sampled_from(["536365", "536366", "C536379", "A563186", "c1"]),
    "StockCode": st.sampled_from(["85123A", "85123a", "POST", "71053"]),
    "Description": st.sampled_from(["HOLDER", "", "?", 'a "quoted", one', "two\nlines"]),
    "Quantity": st.sampled_from(["6", "-6", "0", "six", "1e9", "6.0"]),
    "InvoiceDate": st.sampled_from(["2010-12-01 08:26:00", "2010-12-01", "1900-01-01", "2099-01-01", "2011-02-30", ""]),
    "UnitPrice": st.sampled_from(["2.55", "0", "-11062.06", "NaN", "inf", "1e300", "2,55"]),
    "CustomerID": st.sampled_from(["17850", "17850.0", "", "guest"]),
    "Country": st.sampled_from(["France", "", "Narnia"]),
}
CELL = {name: st.one_of(usual, usual, usual, TEXT) for name, usual in USUAL.items()}
ROWS = st.lists(st.tuples(*(CELL[name] for name in NAMES)), min_size=1, max_size=25)


def as_csv(rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(NAMES)
    writer.writerows(rows)
    return text.getvalue().encode()


def facts(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from retail.invoice_line")
        ((lines,),) = cursor.fetchall()
        cursor.execute("select coalesce(sum(lines), 0) from retail.invoice")
        ((counted,),) = cursor.fetchall()
        cursor.execute("select count(*) from raw.quarantined_line where state = 'waiting'")
        ((waiting,),) = cursor.fetchall()
        cursor.execute("select count(*) from raw.landed_line")
        ((landed,),) = cursor.fetchall()
    return lines, counted, waiting, landed


def emptied(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "truncate raw.batch, raw.batch_file, raw.landed_line, raw.quarantined_line, raw.quarantine_request, "
            "retail.invoice, retail.invoice_line, retail.product"
        )


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(first=ROWS, second=ROWS)
def test_no_line_is_lost_and_none_counts_twice(settings, tmp_path, first, second):
    emptied(settings)
    folder = tmp_path / "drop"
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_bytes(as_csv(first))
    (folder / "b.csv").write_bytes(as_csv(second))
    try:
        counts = ingest.ingest(settings, [str(folder)])
    except InputError:
        # All rows of a file may be empty.
        return
    assert counts.read == counts.merged + counts.unchanged + counts.quarantined
    lines, counted, waiting, landed = facts(settings)
    assert lines == counted == counts.merged
    assert waiting <= counts.quarantined
    assert landed == 0

    # The second file again, with its lines in another order; then once more.
    (tmp_path / "c.csv").write_bytes(as_csv([*reversed(second)]))
    try:
        again = ingest.ingest(settings, [str(tmp_path / "c.csv")])
    except InputError:
        # As many prices may have a decimal comma as a point.
        return
    assert again.read == again.merged + again.unchanged + again.quarantined
    twice = ingest.ingest(settings, [str(tmp_path / "c.csv")])
    assert twice.merged == 0
    assert twice.read == twice.unchanged + twice.quarantined
