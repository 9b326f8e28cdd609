"""TLS, and users with few permissions, against a real server, if one with TLS is installed."""

import asyncio
import shutil
import subprocess
import time

import pytest
import redis
import trustme
from published import META, make_lists

from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.local.ports import LOOPBACK, free_port
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront, Storefront

USERS = """
user default off
user writer on >secret ~ncf:* +@read +@write +@connection +@scripting +time +info
user reader on >secret %R~ncf:* +get +hget +hmget +hgetall +zrangebyscore +smembers
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, stopped_with_us):
    """The port of a server that accepts only TLS with a client certificate, and a folder of certificates."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the path, and the embedded one is built without TLS")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, certificate in (("server", authority.issue_cert(LOOPBACK)), ("shop", authority.issue_cert("shop"))):
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    port = free_port()
    files = f"tls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.pem\ntls-ca-cert-file {folder}/ca.pem\n"
    (folder / "redis.conf").write_text(
        f'bind {LOOPBACK}\nport 0\ntls-port {port}\n{files}save ""\ndir {folder}\n{USERS}'
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, folder / "redis.conf"], stdout=log, stderr=log, start_new_session=True)
    guard = stopped_with_us(process.pid)
    try:
        deadline = time.monotonic() + 60
        while "Ready to accept" not in (folder / "log").read_text():
            said = (folder / "log").read_text()
            if process.poll() is not None and "tls-" in said:
                pytest.skip(f"{program} is built without TLS")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        yield port, folder
    finally:
        process.kill()
        process.wait()
        guard.kill()
        guard.wait()


def url_of(server, user, *, ca="ca.pem", with_certificate=True):
    port, folder = server
    own = f"&ssl_certfile={folder}/shop.pem&ssl_keyfile={folder}/shop.pem" if with_certificate else ""
    return f"rediss://{user}:secret@{LOOPBACK}:{port}/0?ssl_ca_certs={folder}/{ca}{own}"


@pytest.fixture
def writer(server):
    return Settings(redis_url=url_of(server, "writer"))


def test_a_writer_publishes_and_a_reader_reads_over_tls(server, writer):
    number = publication.publish(writer, [make_lists("a", customers=50)], meta=META).number
    publication.publish(writer, [make_lists("b", customers=50)], meta=META)
    publication.flip(writer, number)
    url = url_of(server, "reader")
    with Storefront(url, raise_errors=True, timeout=10) as shop:
        assert {shop.for_customer(14646 + of, country="EIRE").stock_codes[0] for of in range(50)} == {"a"}
        assert shop.for_customer(1, country="EIRE").source == "country"
        assert shop.meta()["customers"] == "50"

    async def ask():
        async with AsyncStorefront(url, raise_errors=True, timeout=10) as shop:
            return (await shop.for_customer(14646)).source

    assert asyncio.run(ask()) == "customer"


def test_a_reader_can_change_nothing_and_see_nothing_else(server, writer):
    with redis.Redis.from_url(url_of(server, "reader")) as client:
        for command in (
            ("SET", "ncf:current", "p000666"),
            ("HSET", "ncf:p000001:customer:14646", "for_you", "[]"),
            ("UNLINK", "ncf:current"),
            ("GET", "other:key"),
            ("KEYS", "*"),
            ("FLUSHALL",),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
    with pytest.raises(ListStoreError, match=r"(?i)no permissions"):
        publication.publish(Settings(redis_url=url_of(server, "reader")), [make_lists()], meta=META)


def test_wrong_certificates_are_refused_by_both_sides(server, writer):
    publication.publish(writer, [make_lists()], meta=META)
    distrustful = url_of(server, "reader", ca="other.pem")
    with (
        Storefront(distrustful, raise_errors=True, timeout=10) as shop,
        pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        shop.for_customer(14646)
    stranger = url_of(server, "reader", with_certificate=False)
    with Storefront(stranger, raise_errors=True, timeout=10) as shop, pytest.raises(redis.ConnectionError):
        shop.for_customer(14646)
    with Storefront(stranger) as shop:
        assert shop.for_customer(14646).source == "unavailable"
    other = Settings(redis_url=url_of(server, "writer", ca="other.pem"))
    with pytest.raises(ListStoreError, match="The previous lists stay live"):
        publication.newest_number(other)
