"""Addresses that may be read, and where web servers may lead: real servers that redirect, lie and never end."""

import asyncio
import threading
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from yarl import URL

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.ingest import stages
from ncf_pipeline.ingest.fetching import fetch
from ncf_pipeline.ingest.inbox import files_at
from ncf_pipeline.storage import web
from ncf_pipeline.storage.faults import RefusedAddressError
from ncf_pipeline.storage.files import filesystem_of, list_files, open_file

CSV = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = b"536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"


@contextmanager
def server(answer):
    """A web server; `answer` gets its handler. Yields the address with the host 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            with suppress(ConnectionError):
                answer(self)

        do_HEAD = do_GET  # noqa: N815 - http.server calls it so

        def log_message(self, *args):
            pass

    asked = []
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}", asked
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def with_content(handler, content=CSV + LINE):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(content)


def to(location):
    def answer(handler):
        if handler.path == "/there.csv":
            with_content(handler)
            return
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def never_ending(handler):
    handler.send_response(206 if handler.headers.get("Range") else 200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    while handler.command == "GET":
        handler.wfile.write(b"0" * (1 << 20))


def test_a_file_of_a_web_server_is_loaded_also_after_a_redirect_on_the_same_host(settings):
    with server(to("/there.csv")) as (address, asked):
        assert stages.ingest(settings, [f"{address}/day.csv"]).merged == 1
        assert asked.count("/there.csv") >= 1
        assert files_at([f"{address}/there.csv"]) == [f"{address}/there.csv"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/x.csv", "an address inside the machine's own network"),
        ("http://[fe80::1]/x.csv", "an address inside the machine's own network"),
        ("http://[::ffff:169.254.169.254]/x.csv", "an address inside the machine's own network"),
        ("http://10.0.0.1/x.csv", "redirects to 10.0.0.1 in a private network"),
        ("http://localhost:{port}/there.csv", "redirects to localhost in a private network"),
        ("file:///etc/passwd", "the server redirects from http to file"),
        ("ftp://127.0.0.1/x.csv", "the server redirects from http to ftp"),
    ],
)
def test_a_redirect_leads_neither_into_a_private_network_nor_to_another_kind_of_address(tmp_path, location, reason):
    with server(to("")) as (address, _):
        target = location.format(port=address.rpartition(":")[2])
    with server(to(target)) as (address, asked):
        for step in (lambda url: fetch(url, tmp_path), lambda url: files_at([url])):
            with pytest.raises(InputError) as raised:
                step(f"{address}/day.csv")
            assert reason in str(raised.value)
            assert "\n" not in str(raised.value)
        assert "/there.csv" not in asked


@pytest.mark.parametrize(("location", "is_followed"), [("http://shop.example/b", False), ("/b", True)])
def test_https_does_not_redirect_to_http(location, is_followed):
    redirect = SimpleNamespace(url=URL("https://shop.example/a"), headers={"Location": location})
    with nullcontext() if is_followed else pytest.raises(RefusedAddressError, match="from https to http"):
        asyncio.run(web._follow(None, SimpleNamespace(first="shop.example"), SimpleNamespace(response=redirect)))


def test_a_redirect_to_a_private_host_that_is_allowed_is_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_PRIVATE_HOSTS", "exports.shop.internal localhost")
    with server(with_content) as (there, asked):
        target = there.replace("127.0.0.1", "localhost")
        with server(to(f"{target}/other.csv")) as (address, _):
            assert fetch(f"{address}/day.csv", tmp_path).path.read_bytes() == CSV + LINE
        assert asked


def test_the_addresses_at_which_clouds_give_credentials_are_not_asked_at_all(tmp_path):
    for host in ("169.254.169.254", "[fd00:ec2:0:0:0:0:0:254]", "100.100.100.200"):
        with pytest.raises(InputError, match="an address inside the machine's own network"):
            fetch(f"http://{host}/latest.csv", tmp_path)


def test_a_download_ends_where_it_is_too_large(tmp_path):
    with server(never_ending) as (address, _), pytest.raises(InputError, match=r"day\.csv has more than the 3 MB"):
        fetch(f"{address}/day.csv", tmp_path, max_mb=3)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 << 20


def test_a_list_of_files_that_never_ends_is_not_read_to_its_end(tmp_path):
    with server(never_ending) as (address, _):
        assert files_at([f"{address}/folder/"]) == [f"{address}/folder/"]
        with pytest.raises(InputError, match="more than the 3 MB"):
            fetch(f"{address}/folder/", tmp_path, max_mb=3)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::file:///etc/passwd",
        "zip://x.csv::http://127.0.0.1:1/x.zip",
        "filecache::http://127.0.0.1:1/x.csv",
        "local:///etc/passwd",
        "memory://shop/a.csv",
        "ftp://127.0.0.1:1/x.csv",
        "github://org:repo@/x.csv",
        "FILE://localhost/etc/passwd",
    ],
)
def test_other_kinds_of_addresses_and_chains_of_them_are_refused_in_one_line(tmp_path, url):
    with pytest.raises(RefusedAddressError):
        filesystem_of(url)
    with pytest.raises(RefusedAddressError):
        open_file(url)
    with pytest.raises(ArtifactError) as in_store:
        list_files(url)
    with pytest.raises(InputError) as looked_up:
        files_at([url])
    with pytest.raises(InputError) as fetched:
        fetch(url, tmp_path)
    for raised in (in_store, fetched):
        assert "are not used" in str(raised.value)
    for raised in (in_store, looked_up, fetched):
        assert "\n" not in str(raised.value)


def test_a_setting_allows_more_kinds_of_addresses(monkeypatch):
    monkeypatch.setenv("NCF_URL_SCHEMES", "memory sftp")
    assert filesystem_of("memory://shop/a.csv")[1] == "/shop/a.csv"
    with pytest.raises(RefusedAddressError, match=r"only file, .*, memory, sftp; NCF_URL_SCHEMES can add it"):
        filesystem_of("ftp://127.0.0.1/x.csv")
