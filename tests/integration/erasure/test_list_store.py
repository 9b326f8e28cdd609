"""After an erasure, the files of a real Redis no longer hold what its memory has lost."""

import re
from pathlib import Path

import pytest
import redis

from ncf_pipeline.erasure.list_store import rewrite_files
from ncf_pipeline.local import ports
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.settings import Settings

WHO = b"customer:anna@example.com"
DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def durable(tmp_path):
    """The URL of a Redis that keeps an append-only file and a snapshot, and its folder."""
    port = ports.free_port()
    server = start_redis(tmp_path / "redis", port=port, password="test", log=tmp_path / "redis.log", durable=True)
    url = redis_url(port, password="test")
    with redis.Redis.from_url(url) as client:
        client.config_set("save", "3600 1")
        client.hset("ncf:p000001:" + WHO.decode(), "for_you", "[]")
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    yield url, tmp_path / "redis"
    stop_redis(server)


def files_with(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and WHO in path.read_bytes())


def settings(url):
    return Settings(redis_url=url)


def test_the_append_only_file_and_the_snapshot_lose_a_customer_who_was_erased(durable):
    url, folder = durable
    with redis.Redis.from_url(url) as client:
        client.unlink("ncf:p000001:" + WHO.decode())
    assert len(files_with(folder)) == 2
    assert rewrite_files(settings(url)) == ()
    assert files_with(folder) == []
    assert rewrite_files(settings(url)) == ()


def test_one_that_runs_already_is_not_taken_for_a_new_one(durable):
    url, folder = durable
    with redis.Redis.from_url(url) as client:
        client.bgrewriteaof()  # with the customer
        client.unlink("ncf:p000001:" + WHO.decode())
    assert rewrite_files(settings(url)) == ()
    assert files_with(folder) == []


@pytest.mark.parametrize(("page", "user"), [("storefront.md", "writer"), ("kubernetes.md", "lists")])
def test_the_user_that_the_documentation_makes_may_do_it(durable, page, user):
    url, folder = durable
    (line,) = re.findall(rf"ACL SETUSER ({user} .*)", (DOCS / page).read_text())
    with redis.Redis.from_url(url) as client:
        client.execute_command("acl", "setuser", *line.split())
        client.unlink("ncf:p000001:" + WHO.decode())
    secret = next(right[1:] for right in line.split() if right.startswith(">"))
    assert rewrite_files(settings(url.replace("default:test", f"{user}:{secret}"))) == ()
    assert files_with(folder) == []


def test_a_user_who_may_not_is_told_what_an_administrator_does(durable):
    url, folder = durable
    with redis.Redis.from_url(url) as client:
        client.execute_command("acl", "setuser", "shop", "on", ">secret", "~*", "+@all", "-@admin", "+info")
    lines = rewrite_files(settings(url.replace("default:test", "shop:secret")))
    assert [line for line in lines if "redis-cli BGREWRITEAOF" in line]
    assert [line for line in lines if "redis-cli BGSAVE" in line]
    with redis.Redis.from_url(url) as client:
        client.execute_command("acl", "setuser", "shop", "-info")
    (line,) = rewrite_files(settings(url.replace("default:test", "shop:secret")))
    assert "may not ask for INFO" in line
    assert files_with(folder)
