import logging

import pytest

from ncf_pipeline.settings import RENAMED, Settings, load_settings, renamed_variables


@pytest.mark.parametrize("name", RENAMED)
def test_a_variable_that_no_longer_exists_is_told_in_one_line(name, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv(name, "0.02")
    with caplog.at_level(logging.WARNING):
        load_settings(home=tmp_path)
    (line,) = caplog.messages
    assert line.startswith(f"{name} is set, but it has no effect any more")


def test_what_took_its_place_exists():
    names = {f"NCF_{name.upper()}" for name in Settings.model_fields}
    for old, new in RENAMED.items():
        assert old not in names
        assert {word.strip(",") for word in new.split() if word.startswith("NCF_")} <= names


def test_a_variable_that_is_empty_or_unset_is_not_told():
    assert renamed_variables({"NCF_GATE_MIN_REFIT_AGREEMENT": "", "NCF_GATE_MAX_LOSS": "0.1"}) == []
