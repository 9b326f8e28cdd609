import stat

import pytest

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.passwords import kept_password, password, password_path, write_private


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_password_is_generated_once(tmp_path):
    assert kept_password(tmp_path, "redis") is None
    first = password(tmp_path, "redis")
    assert len(first) == 32
    assert password(tmp_path, "redis") == kept_password(tmp_path, "redis") == first
    assert password(tmp_path, "postgres") != first


def test_a_password_needs_no_escaping_in_a_url(tmp_path):
    for number in range(20):
        assert password(tmp_path, f"p{number}").replace("-", "").replace("_", "").isalnum()


def test_only_its_owner_can_read_a_password(tmp_path):
    password(tmp_path, "redis")
    path = password_path(tmp_path, "redis")
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


def test_an_emptied_password_file_gets_a_new_password(tmp_path):
    password(tmp_path, "redis")
    password_path(tmp_path, "redis").write_text("\n")
    assert len(password(tmp_path, "redis")) == 32


def test_an_unreadable_password_file_is_reported_in_one_clear_line(tmp_path):
    password_path(tmp_path, "redis").mkdir(parents=True)
    with pytest.raises(ServiceError, match=r"secrets/redis cannot be read: Is a directory"):
        password(tmp_path, "redis")


def test_a_private_file_is_private_from_its_first_byte_and_never_half_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
