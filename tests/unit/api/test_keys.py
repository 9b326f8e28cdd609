"""Which keys are valid, and what is said of entries that are none."""

import pytest

from ncf_pipeline.api import keys
from ncf_pipeline.api.keys import RenewedKeys, keys_in, keys_of, owner_of
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import Settings

A, B = "a" * 20, "b" * 43 + "="


def test_several_keys_of_each_role_are_valid_at_once():
    keys = keys_in(f"reader={A}\n# the next one\nwriter:desk={B}   # until May\n")
    assert [(key.role, key.name) for key in keys] == [("reader", keys[0].digest.hex()[:8]), ("writer", "desk")]
    assert owner_of(f"Bearer {A}", keys) is keys[0]
    assert owner_of(f"bearer  {B} ", keys) is keys[1]


@pytest.mark.parametrize("header", [None, "", "Bearer", f"Bearer {A[:-1]}", f"Basic {A}", A, "Bearer \ud800"])
def test_anything_else_is_nobodys(header):
    assert owner_of(header, keys_in(f"reader={A}")) is None


@pytest.mark.parametrize("entry", [A, f"admin={A}", "reader=", f"reader={A[:-1]}", f"reader:a/b={A}", f"reader={A}é"])
def test_what_is_no_key_is_refused_and_not_repeated(entry):
    with pytest.raises(SettingsError, match=r"Entry 2 of the API's keys is not reader=KEY") as refused:
        keys_in(f"reader={B}\n{entry}")
    assert A[:-1] not in str(refused.value)


def test_one_key_cannot_be_two():
    with pytest.raises(SettingsError, match="Two of the API's keys are the same"):
        keys_in(f"reader={A} writer={A}")


def test_keys_are_read_from_a_file_and_from_a_variable(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"reader={A}")
    settings = Settings(api_keys=f"writer={B}", api_keys_file=file)
    assert [key.role for key in keys_of(settings)] == ["reader", "writer"]
    assert {A, B} & set(settings.secrets()) == {B}
    assert B not in settings.without_secrets(f"the key {B}")
    file.write_bytes(b"\xff\xfe")
    for wrong in (file, tmp_path, tmp_path / "none"):
        with pytest.raises(SettingsError, match=r"NCF_API_KEYS_FILE: .* cannot be read as text"):
            keys_of(Settings(api_keys_file=wrong))


def test_a_file_that_changes_is_read_again_and_a_broken_one_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"reader={A}")
    valid = RenewedKeys(Settings(api_keys=f"writer={B}", api_keys_file=file))
    assert [key.role for key in valid()] == ["reader", "writer"]
    for broken in (f"reader={A[:-1]}", f"writer={B}", None):
        caplog.clear()
        file.unlink() if broken is None else file.write_text(broken)
        assert [key.role for key in valid()] == [key.role for key in valid()] == ["reader", "writer"]
        assert len(caplog.records) == 1  # once for each change
        assert "were not read again, and those before stay valid: " in caplog.text
        assert A[:-1] not in caplog.text
    file.write_text("# nobody reads\n")
    assert [key.role for key in valid()] == ["writer"]


def test_the_file_is_looked_at_once_a_second(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"reader={A}")
    valid = RenewedKeys(Settings(api_keys_file=file))
    file.write_text(f"writer={B}")
    assert [key.role for key in valid()] == ["reader"]
