"""Random shops in random dialects are read back equal, or refused where the file truly leaves it open.

The shops are the same in each run, so that a change is judged by them. `make fuzz` draws others for as long as it is
told to; see `tests/support/random_shops.py`.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_shops import SHOP_TIMEZONE, damaged_text, faults, mixed, random_file, random_mapped

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import from_yaml
from ncf_pipeline.ingest.readers.cells import as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file


def read(path, mapping=None):
    """The typed lines, or the reason for which the file is refused."""
    try:
        with open_file(path, path.name, max_unpacked_mb=64, mapping=mapping, shop_timezone=SHOP_TIMEZONE) as opened:
            return [row for table in opened.tables for chunk in table.chunks()
                    for row in as_typed(chunk, table.dialect).iter_rows(named=True)], None  # fmt: skip
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize(("kind", "examples"), [("text", 60), ("parquet", 15), ("workbook", 3)])
def test_a_random_shop_is_read_back_equal(tmp_path_factory, kind, examples):
    @settings(max_examples=examples, derandomize=True)
    @given(dice=st.randoms(use_true_random=True))
    def check(dice):
        made = random_file(dice, kind)
        path = tmp_path_factory.mktemp("shop") / made.name
        path.write_bytes(made.content)
        assert not faults(made, *read(path)), made.style

    check()


@settings(max_examples=25, derandomize=True)
@given(dice=st.randoms(use_true_random=True))
def test_a_random_shop_in_its_own_columns_is_read_as_its_mapping_means_it(tmp_path_factory, dice):
    made, said = random_mapped(dice)
    path = tmp_path_factory.mktemp("shop") / made.name
    path.write_bytes(made.content)
    assert not faults(made, *read(path, from_yaml(said))), said


@settings(max_examples=60, derandomize=True)
@given(dice=st.randoms(use_true_random=True))
def test_no_line_has_the_cells_of_another(tmp_path_factory, dice):
    made = damaged_text(dice)
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    path.write_bytes(made.content)
    rows, _ = read(path)
    assert not mixed(made, rows), made.what
