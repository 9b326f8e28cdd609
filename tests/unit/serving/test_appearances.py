"""Counting what the file of the lists shows."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_pipeline.columns import FOR_YOU, Lists
from ncf_pipeline.serving import appearances


@pytest.fixture
def file_of(tmp_path):
    """Writes a file of lists, each of these groups of rows as a part of its own; returns its address."""

    def write(*groups, columns=Lists.ALL):
        path = tmp_path / "lists.parquet"
        tables = [
            pa.Table.from_pandas(pd.DataFrame(rows, columns=list(Lists.ALL))[list(columns)], preserve_index=False)
            for rows in groups
        ]
        with pq.ParquetWriter(path, tables[0].schema) as writer:
            for table in tables:
                if len(table):
                    writer.write_table(table)
        return path.as_uri()

    return write


def of_customers(*keys):
    return [("customer", key, name, ["a", "b", "c"]) for key in keys for name in (FOR_YOU, "discover")]


def customers_in(lists):
    return lists.filter(pa.compute.field(Lists.AUDIENCE) == "customer")[Lists.KEY].unique().to_pylist()


def test_what_is_spare_is_left_out_in_whatever_order_the_columns_are(file_of):
    url = file_of(
        [("customer", "1", FOR_YOU, ["a", "b", "c"]), ("product", "a", "similar", [])], columns=Lists.ALL[::-1]
    )
    lists = appearances._lists(1, url, 2)
    assert lists[Lists.STOCK_CODES].to_pylist() == [["a", "b"], []]
    assert appearances._counter(lists) == {"a": 1, "b": 1}


def test_of_many_customers_some_parts_count_whole_and_every_list_of_a_product(file_of, monkeypatch):
    monkeypatch.setattr(appearances, "SAMPLE", 3)
    product = ("product", "a", "similar", ["b"])
    url = file_of(
        of_customers("1", "2"), of_customers("3", "4"), [*of_customers("5"), product], of_customers("6"), [product]
    )
    lists = appearances._lists(1, url, 10)
    assert customers_in(lists) == ["1", "2", "3", "4"]
    assert len(lists.filter(pa.compute.field(Lists.AUDIENCE) == "product")) == 2
