import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving.scoring import SCHEMA, batches, whole


def test_columns_that_an_earlier_version_did_not_write_are_empty(tmp_path):
    there = {Lists.AUDIENCE: ["customer"], Lists.KEY: ["14605"], Lists.STOCK_CODES: [["22010", "22011"]]}
    pq.write_table(pa.table(there), tmp_path / "p000001.parquet")
    (batch,) = batches(f"file://{tmp_path}/p000001.parquet", (Lists.KEY, Lists.STOCK_CODES, Lists.AS_OF))
    assert batch.schema.names == [Lists.KEY, Lists.STOCK_CODES]
    lists = whole(batch)
    assert lists.schema.names == SCHEMA.names
    assert lists.select([Lists.KEY, Lists.AUDIENCE, Lists.AS_OF]).to_pylist() == [
        {Lists.KEY: "14605", Lists.AUDIENCE: None, Lists.AS_OF: None}
    ]
