"""What strangers and mistakes get: one shape, one clear line, and nothing of a customer in the log."""

import http.client
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from web_api import READER, WRITER

from ncf_pipeline.api import guard, server
from ncf_pipeline.errors import SettingsError

LIST = "/customers/14646/lists/for_you"
JSON = {"Content-Type": "application/json"}


def said(answer, status):
    """What an error says, if it is one in the shape of all."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail"}
    assert answer.json()["status"] == status
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


@pytest.fixture
def shop(settings, publish):
    publish("a", number=42)
    return settings


def test_a_key_is_needed_and_is_read_from_its_header_alone(shop, asks):
    stranger, reader = asks(shop, key=None), asks(shop)
    for answer in (
        stranger.get(LIST),
        stranger.get(f"{LIST}?key={READER}"),
        stranger.get(LIST, headers={"Authorization": f"Basic {READER}"}),
        stranger.get(LIST, headers={"X-API-Key": READER}),
        stranger.get(LIST, headers={"Authorization": f"Bearer {READER}x"}),
        stranger.get("/nothing"),
        stranger.post("/baskets", content=b"{" * 1_000_000),
    ):
        assert said(answer, 401).startswith("Send a key of this API in the header Authorization: Bearer KEY.")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert said(reader.get(f"{LIST}?key={READER}"), 422) == "key: there is no such parameter."
    assert reader.get(LIST).status_code == 200
    assert asks(shop, key=WRITER).get(LIST).status_code == 200
    for path in ("/health", "/ready", "/openapi.json"):
        assert stranger.get(path).status_code == 200


def test_without_keys_only_this_machine_may_ask(shop, asks):
    api = asks(shop, key=None, keys=None)
    assert api.get(LIST).status_code == 200
    assert api.get(LIST, headers={"Host": "shop.example"}).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("GET", "/", None, 404, "There is nothing under this address. /openapi.json says what there is."),
        ("GET", "/customers//lists/for_you", None, 404, "customer_id: has control characters, or spaces around it."),
        ("GET", "/customers/a%00b/lists/for_you", None, 404, "customer_id: has control characters"),
        ("GET", f"/customers/{'a' * 255}/lists/for_you", None, 404, "customer_id: String should have at most 254"),
        ("GET", "/customers/1/lists/cart", None, 404, "list_name: Input should be 'for_you', 'discover' or"),
        ("GET", f"{LIST}?count=0", None, 422, "count: Input should be greater than or equal to 1."),
        ("GET", f"{LIST}?count=ten&page=-1", None, 422, "count: Input should be a valid integer, unable to parse"),
        ("GET", f"{LIST}?cuont=1", None, 422, "cuont: there is no such parameter."),
        ("PUT", "/baskets", b"{}", 405, "This address does not take such a request: see the header Allow."),
        ("POST", "/baskets", b"", 422, "The body is no JSON object: send one, with the header Content-Type"),
        ("POST", "/baskets", b"{", 422, "The body is no JSON."),
        ("POST", "/baskets", b"\xff\xfe", 422, "The body is no JSON"),
        ("POST", "/baskets", b"[" * 100_000, 422, "The body is no JSON in UTF-8."),
        ("POST", "/baskets", b"[]", 422, "The body is no JSON object"),
        ("POST", "/baskets", b'{"stock_codes":"85123A"}', 422, "stock_codes: Input should be a valid list."),
        ("POST", "/baskets", b'{"stock_codes":["\\ud800"]}', 422, "stock_codes: Input should be a valid string"),
        ("POST", "/baskets", b'{"stock_codes":[],"count":NaN}', 422, "count: Input should be a finite number"),
        ("POST", "/baskets", b'{"stock_codes":[],"customer":' + b"9" * 5000 + b"}", 422, "The body is no JSON"),
        ("POST", "/pages", b'{"shelves":["similar"]}', 422, "the body: similar is the list of a product: name one"),
        ("POST", "/pages", b'{"shelves":["for_you","for_you"]}', 422, "the body: each list may be on the page once."),
        ("POST", "/baskets", b" " * 200_000, 413, "The body has more than 131,072 bytes."),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_request_is_told_what_is_wrong(shop, asks, method, path, body, status, detail):
    answer = asks(shop).request(method, path, content=body, headers=JSON)
    assert said(answer, status).startswith(detail)


@pytest.mark.parametrize(("path", "methods"), [("/hidden", "DELETE, GET, PUT"), ("/baskets", "POST"), (LIST, "GET")])
def test_what_an_address_takes_is_said(shop, asks, path, methods):
    answer = asks(shop).options(path)
    assert said(answer, 405).startswith("This address does not take such a request")
    assert answer.headers["Allow"] == methods


def test_ten_thousand_codes_are_too_many(shop, asks):
    api, many = asks(shop), [f"C{number}" for number in range(10_000)]
    detail = said(api.post("/baskets", json={"stock_codes": [], "exclude": many}), 422)
    assert detail == "exclude: List should have at most 500 items after validation, not 10000."
    assert api.post("/baskets", json={"stock_codes": many[:500], "exclude": many[:500]}).status_code == 200
    connection = http.client.HTTPConnection(api.base_url.netloc.decode(), timeout=30)
    connection.request("GET", f"{LIST}?exclude={'&exclude='.join(many)}", headers=dict(api.headers))
    assert connection.getresponse().status == 400  # of the server itself, which reads no longer header
    connection.close()
    assert api.get(LIST).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(shop, served, monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    _, address = served(shop)
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        head = ["POST /baskets HTTP/1.1", "Host: x", f"Authorization: Bearer {READER}", "Content-Length: 9", "", "{"]
        slow.sendall("\r\n".join(head).encode())
        assert b" 408 " in slow.recv(100)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-", b"HTTP/1.1 408 Request Timeout\r\n"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"HTTP/1.1 200 OK\r\n"),
    ],
)
def test_headers_that_do_not_come_are_not_waited_for(shop, served, monkeypatch, sent, answer):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    _, address = served(shop)
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20) as slow:
        slow.sendall(sent)
        got = b""
        while part := slow.recv(4096):  # until the server closes it
            got += part
    assert got.startswith(answer)
    assert (b'"detail": "The request did not come within 0.2 seconds."' in got) == (len(sent) > 0)


def test_headers_in_pieces_and_pauses_between_requests_are_fine(shop, served, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    _, address = served(shop)
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20) as slow:
        for _ in range(2):
            for piece in (b"GET /health HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"):
                slow.sendall(piece)
                time.sleep(0.05)
            assert slow.recv(4096).startswith(b"HTTP/1.1 200 OK")
            time.sleep(0.7)  # longer than headers may take: there are none yet


def test_keys_are_replaced_without_a_restart(shop, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"reader={READER}")
    process = command(shop, NCF_API_KEYS_FILE=str(file))
    other = READER[::-1]

    def status(key):
        return httpx.get(f"{address}{LIST}", headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code

    try:
        address = process.stderr.readline().split()[-1]
        assert (status(READER), status(other)) == (200, 401)
        file.write_text(f"reader={other}")
        time.sleep(1.1)
        assert (status(READER), status(other)) == (401, 200)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "The keys of the API were read again: 1 of readers, 0 of writers." in log
    assert other not in log


def test_each_key_has_a_limit_of_its_own(shop, asks):
    limited = shop.model_copy(update={"api_reader_limit": "3/hour", "api_writer_limit": "1/hour"})
    api = asks(limited)
    assert [api.get(LIST).status_code for _ in range(3)] == [200] * 3
    refused = api.get(LIST)
    assert said(refused, 429) == "More than 3 per 1 hour with this key."
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert api.get("/health").status_code == 200
    assert api.get(LIST, headers={"Authorization": f"Bearer {WRITER}"}).status_code == 200
    with pytest.raises(SettingsError, match=r"NCF_API_READER_LIMIT: 'many' is no limit, such as 6000/minute"):
        asks(shop.model_copy(update={"api_reader_limit": "many"}))


def test_more_at_once_than_can_be_answered_are_sent_away(shop, asks, monkeypatch):
    monkeypatch.setattr(guard, "MOST_AT_ONCE", 0)
    answer = asks(shop).get(LIST)
    assert said(answer, 503) == "This server answers too many requests at the same time."
    assert answer.headers["Retry-After"] == "1"


@pytest.fixture
def silent_redis():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_without_redis_the_answer_is_503_and_it_comes_soon(shop, asks, silent_redis):
    for url in ("redis://127.0.0.1:1/0", silent_redis):
        api = asks(shop.model_copy(update={"redis_url": type(shop.redis_url)(url)}))
        begun = time.monotonic()
        answers = [api.get(LIST), api.post("/baskets", json={"stock_codes": ["A"]}), api.get("/ready")]
        for answer in answers:
            assert said(answer, 503).startswith("Redis does not answer.")
            assert answer.headers["Retry-After"] == "1"
        assert time.monotonic() - begun < 20
        assert api.get("/health").json() == {"status": "ok"}


def test_the_log_names_no_customer_no_product_and_no_key(shop, asks, caplog):
    with caplog.at_level(logging.INFO):
        api = asks(shop)
        api.get("/customers/ann%40example.com/lists/for_you?country=EIRE&exclude=85123A")
        api.get("/ann@example.com?key=" + READER)
        api.get("/customers/ann@example.com/lists/none")
        api.post("/baskets", json={"stock_codes": ["85123A"], "customer": "ann@example.com"})
        api.get(LIST, headers={"Authorization": f"Bearer x{READER}"})
    lines = [record.getMessage() for record in caplog.records if record.name == guard.__name__]
    assert [re.sub(r"[0-9.]+ ms", "T", line) for line in lines] == [
        "GET /customers/{customer_id}/lists/{list_name} 200 T reader web",
        "GET (no such address) 404 T reader web",
        "GET /customers/{customer_id}/lists/{list_name} 404 T reader web",
        "POST /baskets 200 T reader web",
        "GET (no such address) 401 T -",
    ]
    said_by_others = [record.getMessage() for record in caplog.records if record.name != "httpx"]
    assert not re.search(r"ann|85123A|key-0", "\n".join(said_by_others))


def test_readers_see_one_publication_or_the_next_and_never_a_mix(shop, asks, publish):
    api, seen, done = asks(shop), set(), threading.Event()

    def read():
        with httpx.Client(base_url=api.base_url, headers=api.headers) as mine:
            while not done.is_set():
                page = mine.post("/pages", json={"shelves": ["for_you", "new_arrivals"], "customer": 14646, "count": 1})
                lists = page.json()["lists"].values()
                seen.add(tuple((each["publication"], each["products"][0]["stock_code"]) for each in lists))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number, mark in enumerate("bcd", start=43):
        publish(mark, number=number)
        time.sleep(0.3)
    time.sleep(1.2)
    done.set()
    for reader in readers:
        reader.join(10)
    # `new_arrivals` begins with the mark too, which is on the page already: then its next product comes first.
    marks = {42: "a", 43: "b", 44: "c", 45: "d"}
    names = {f"p{number:06d}": mark for number, mark in marks.items()}
    assert {name for both in seen for name, _ in both} <= set(names)
    assert (("p000045", "d"), ("p000045", "É:1")) in seen
    for (first, code), (second, _) in seen:
        assert first == second
        assert code == names[first]


def command(settings, *arguments, **environment):
    settings.home.chmod(0o700)
    names = {name: value for name, value in os.environ.items() if not name.startswith("NCF_")}
    given = {
        "NCF_HOME": str(settings.home),
        "NCF_REDIS_URL": settings.list_store(),
        "NCF_KEY_PREFIX": settings.key_prefix,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "ncf_pipeline", "serve", "--port", "0", *arguments],
        env=names | given | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_answers_and_stops_in_order(shop):
    process = command(shop, NCF_API_KEYS=f"reader={READER}")
    try:
        first = process.stderr.readline()
        assert "The API is at http://127.0.0.1:" in first
        address = first.split()[-1]
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {READER}"}, timeout=30) as api:
            assert api.get(LIST).status_code == 200
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert log.splitlines()[-1].endswith("The API has stopped.")
    assert READER not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ([], "Error: The API has no keys. Set NCF_API_KEYS to reader=KEY writer=KEY, or NCF_API_KEYS_FILE"),
        (["--without-keys", "--host", "0.0.0.0"], "Error: --without-keys is only for 127.0.0.1: others could reach"),
    ],
)
def test_without_keys_the_command_does_not_start(settings, arguments, detail):
    _, log = command(settings, *arguments).communicate(timeout=60)
    assert log.startswith(detail)
    assert log.count("\n") == 1
