import functools
import http.server
import io
import threading
import zipfile

import pytest

from ncf_pipeline import synthetic
from ncf_pipeline.errors import InputError
from ncf_pipeline.local.demo_data import WORKBOOK, demo_data, put_into_inbox
from ncf_pipeline.settings import Settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A small workbook and its number of lines."""
    path = tmp_path_factory.mktemp("shop") / "small.xlsx"
    lines = synthetic.write_workbook(path, customers=20, products=20, days=10)
    return path, len(lines)


@pytest.fixture
def published(tmp_path):
    """A web server that publishes the files in its folder."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def home(tmp_path, monkeypatch):
    # These tests do not depend on the size of the synthetic shop.
    for name, value in (("_CUSTOMERS", 20), ("_PRODUCTS", 20), ("_DAYS", 10)):
        monkeypatch.setattr(f"ncf_pipeline.local.demo_data.{name}", value)
    return Settings(home=tmp_path / "home")


def packed(*files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_file_that_the_user_names_is_used_and_nothing_else_is_tried(home, shop):
    said = []
    assert demo_data(home, shop[0], say=said.append, url="http://127.0.0.1:1").path == shop[0]
    assert said == []


def test_a_missing_file_is_reported_in_one_clear_line(home, tmp_path):
    with pytest.raises(InputError, match=r"missing.xlsx cannot be read: No such file"):
        demo_data(home, tmp_path / "missing.xlsx", say=print)


def test_the_workbook_is_downloaded_once_and_kept(home, shop, published):
    folder, url = published
    (folder / "a.zip").write_bytes(packed(("Online Retail.xlsx", shop[0].read_bytes())))
    first = demo_data(home, None, say=lambda line: None, url=f"{url}/a.zip", rows=shop[1])
    assert first.path == home.home / "cache" / WORKBOOK
    assert first.path.read_bytes() == shop[0].read_bytes()
    (folder / "a.zip").unlink()
    said = []
    assert demo_data(home, None, say=said.append, url=f"{url}/a.zip", rows=shop[1]).path == first.path
    assert said == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda shop: b"<html>moved</html>", "did not return a zip archive"),
        (lambda shop: packed(("readme.txt", b"")), "holds 0 workbooks"),
        (lambda shop: packed(("a.xlsx", b"not a workbook")), "is not a workbook"),
        (lambda shop: packed(("a.xlsx", shop.read_bytes())), "lines instead of 541,909"),
    ],
)
def test_a_wrong_download_is_not_kept_and_the_demo_uses_a_synthetic_shop(home, shop, published, content, reason):
    folder, url = published
    (folder / "a.zip").write_bytes(content(shop[0]))
    said = []
    data = demo_data(home, None, say=said.append, url=f"{url}/a.zip")
    assert data.path.name == "Synthetic Retail.xlsx"
    assert "synthetic" in data.note
    assert any(reason in line for line in said)
    assert any("NCF_DEMO_DATA" in line for line in said)
    assert [path.name for path in (home.home / "cache").iterdir()] == ["Synthetic Retail.xlsx"]


def test_offline_the_demo_uses_the_same_synthetic_shop_each_time(home):
    first = demo_data(home, None, say=lambda line: None, url="http://127.0.0.1:1")
    content = first.path.read_bytes()
    again = demo_data(home, None, say=lambda line: None, url="http://127.0.0.1:1")
    assert again.path.read_bytes() == content


def test_a_file_appears_in_the_inbox_only_when_it_is_complete(home, shop):
    placed = put_into_inbox(home, shop[0])
    assert placed.read_bytes() == shop[0].read_bytes()
    assert [path.name for path in home.inbox_path.iterdir()] == ["small.xlsx"]


def test_a_file_that_cannot_be_copied_leaves_nothing_in_the_inbox(home, tmp_path):
    with pytest.raises(InputError, match="cannot be copied"):
        put_into_inbox(home, tmp_path / "missing.xlsx")
    assert list(home.inbox_path.iterdir()) == []
