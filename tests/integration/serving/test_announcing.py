"""Other systems are told of each change once it is committed, by a stream and a webhook, whatever fails meanwhile."""

import base64
import http.server
import json
import threading
import time
from datetime import UTC, datetime

import pytest
import redis

from ncf_pipeline import alerts
from ncf_pipeline.alerts import Alert
from ncf_pipeline.alerts.kinds import CHANGES_UNTOLD, LISTS_OLD
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving import announcing, hiding
from ncf_pipeline.serving.announcing import announce, announcements, signature, waiting
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.serving.watch import watch
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training import retrain

from ..conftest import AS_OF

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def stream(settings):
    """The entries of the stream, as (kind, data)."""

    def read():
        with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
            entries = store.xrange(f"{settings.key_prefix}:changes")
        return [(fields["kind"], json.loads(fields["data"])) for _, fields in entries]

    return read


@pytest.fixture
def receiver():
    """A webhook that keeps what it got, and answers what `answers` says next, 204 after that."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.got.append((dict(self.headers), body))
            self.send_response(server.answers.pop(0) if server.answers else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def dead_store(settings):
    return settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})


@pytest.fixture
def hooked(settings, receiver):
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    return Settings(**{**dict(settings), "webhook_url": url, "webhook_secret": SECRET})


def wait_no_longer(settings):
    """As if the time until the next try had passed."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ops.announcement set next_post_at = now()")


def test_publications_rollbacks_and_hidden_products_are_told(settings, version, stream):
    retrain.publish(settings, version)
    hiding.hide(settings, ["22423"], actor="ann", country="france")
    hiding.unhide(settings, ["22423"], actor="ann", country="France")
    told = stream()
    assert [kind for kind, _ in told] == ["publication", "hidden", "shown"]
    assert told[0][1] == {
        "publication": "p000001",
        "version": "v1",
        "as_of": told[0][1]["as_of"],
        "customers": 40,
        "products": told[0][1]["products"],
    }
    assert told[1][1] == {"stock_code": "22423", "country": "France", "until": None}
    assert waiting(settings).waiting == 0
    assert announce(settings) == announcing.Told()  # nobody is told twice
    assert len(stream()) == 3


def test_what_redis_did_not_take_is_told_later_in_order(settings, stream, dead_store):
    with pytest.raises(Exception, match="Redis"):
        hiding.hide(dead_store, ["22423"], actor="ann")
    assert "Redis" in announce(dead_store).error
    assert (waiting(settings).waiting, waiting(settings).not_streamed) == (1, 1)
    hiding.hide(settings, ["85123A"], actor="ann")
    assert [data["stock_code"] for _, data in stream()] == ["22423", "85123A"]


def test_a_change_that_was_rolled_back_is_not_told(settings, stream):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.hidden_product (stock_code, hidden_by) values ('22423', 'ann')")
        connection.rollback()
    announce(settings)
    assert stream() == []


def test_alerts_are_told_without_their_text(settings, stream):
    alerts.tell(settings, Alert(LISTS_OLD, "lists", "The lists of customer 14646 are old.", since=datetime.now(UTC)))
    alerts.recover(settings, LISTS_OLD, "lists")
    announce(settings)
    assert [kind for kind, _ in stream()] == ["alert", "alert_over"]
    assert all(data["alert"] == "lists_old" and data["severity"] == "warn" for _, data in stream())
    assert "14646" not in json.dumps(stream())


def test_a_webhook_gets_each_change_signed_and_in_order(hooked, receiver):
    hiding.hide(hooked, ["22423", "85123A"], actor="ann")
    assert [json.loads(body)["data"]["stock_code"] for _, body in receiver.got] == ["22423", "85123A"]
    for headers, body in receiver.got:
        sent_at = int(headers["webhook-timestamp"])
        assert abs(sent_at - time.time()) < 60
        assert headers["webhook-signature"] == signature(KEY, headers["webhook-id"], sent_at, body)
        assert json.loads(body)["type"] == "hidden"
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 2
    assert [row.post for row in announcements(hooked)] == ["posted", "posted"]


def test_a_webhook_that_fails_is_told_again_with_the_same_id_before_what_came_after(hooked, receiver, stream):
    receiver.answers = [500]
    hiding.hide(hooked, ["22423"], actor="ann")
    hiding.hide(hooked, ["85123A"], actor="ann")  # waits behind the first
    assert len(receiver.got) == 1
    assert len(stream()) == 2  # the stream does not wait for the webhook
    assert announcements(hooked)[-1].posts_failed == 1
    wait_no_longer(hooked)
    assert announce(hooked).posted == 2
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert ids[0] == ids[1] != ids[2]


def test_a_webhook_is_given_up_after_days_and_the_next_change_is_told(hooked, receiver):
    receiver.answers = [410]
    with transaction(hooked) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.hidden_product (stock_code, hidden_by) values ('22423', 'ann')")
        cursor.execute("update ops.announcement set announced_at = now() - interval '4 days'")
    hiding.hide(hooked, ["85123A"], actor="ann")
    assert {row.details["stock_code"]: row.post for row in announcements(hooked)} == {
        "22423": "given up",
        "85123A": "posted",
    }


def test_a_webhook_that_is_set_later_does_not_get_what_was_before(settings, hooked, receiver):
    hiding.hide(settings, ["22423"], actor="ann")
    hiding.hide(hooked, ["85123A"], actor="ann")
    assert [json.loads(body)["data"]["stock_code"] for _, body in receiver.got] == ["85123A"]


def test_nothing_is_posted_that_a_receiver_could_not_check(hooked, receiver):
    unsigned = hooked.model_copy(update={"webhook_secret": None})
    hiding.hide(unsigned, ["22423"], actor="ann")
    assert receiver.got == []
    assert "NCF_WEBHOOK_SECRET is not set" in announce(unsigned).error


def test_the_webhook_is_a_secret(hooked, receiver, caplog):
    receiver.answers = [500]
    hiding.hide(hooked, ["22423"], actor="ann")
    assert "NCF_WEBHOOK_URL: it answered 500" in caplog.text
    assert str(receiver.server_port) not in caplog.text
    assert hooked.without_secrets(SECRET) != SECRET


def test_on_call_is_told_of_what_waits_for_an_hour(hooked, receiver):
    receiver.answers = [500] * 9
    hiding.hide(hooked, ["22423"], actor="ann")
    assert CHANGES_UNTOLD.name not in watch(hooked).broken
    with transaction(hooked) as connection, connection.cursor() as cursor:
        cursor.execute("update ops.announcement set announced_at = now() - interval '2 hours'")
    assert CHANGES_UNTOLD.name in watch(hooked).broken
    receiver.answers = []
    wait_no_longer(hooked)
    assert CHANGES_UNTOLD.name not in watch(hooked).broken


def test_two_at_once_tell_each_change_once(settings, stream):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.hidden_product (stock_code, hidden_by) "
            "select n::text, 'ann' from generate_series(1, 300) as n"
        )
    both = [threading.Thread(target=announce, args=(settings,)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [data["stock_code"] for _, data in stream()] == [str(n) for n in range(1, 301)]


def test_a_rollback_is_told(settings, version, promoted, stream):
    retrain.publish(settings, version)
    second = promoted(take_snapshot(settings, AS_OF), "b")
    retrain.publish(settings, second)
    rollback(settings, actor="ann")
    told = [(kind, data["publication"], data["version"]) for kind, data in stream()]
    assert told == [
        ("publication", "p000001", f"v{version}"),
        ("publication", "p000002", f"v{second}"),
        ("rollback", "p000001", f"v{version}"),
    ]
