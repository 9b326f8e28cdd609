"""The examples of docs/storefront.md, run as a reader would."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import redis
from web_server import serving

from ncf_pipeline.api.app import create_app
from ncf_pipeline.api.keys import keys_in
from ncf_pipeline.api.server import server_of
from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storage.database import transaction

TEXT = (Path(__file__).parents[3] / "docs" / "storefront.md").read_text()
URL = "redis://reader:secret@127.0.0.1:6379/0"

REASONS = {"for_you": '[["new"],["bought",3],["popular"],["taste"]]', "discover": '[["goes_with","22423"]]'}
LISTS = [
    ("customer", "14646", "for_you", ["23084", "22423", "20725", "22086"]),
    ("customer", "14646", "discover", ["23843"]),
    ("customer", "14646", "buy_again", ["22423"]),
    ("product", "85123A", "bought_together", ["21733"]),
    ("product", "85123A", "similar", ["22804"]),
    ("product", "22423", "bought_together", ["22804", "23084"]),
    ("fallback", "Channel Islands", "for_you", ["22423"]),
    ("fallback", "Channel Islands", "new_arrivals", ["23843", "23084"]),
    ("fallback", "*", "for_you", ["22423"]),
    ("fallback", "*", "new_arrivals", ["23843"]),
    ("category", "Kitchen", "best_sellers", ["22423", "85099B", "22804"]),
    ("category", "Kitchen", "others", []),
    ("category", "Kitchen > Cups", "best_sellers", ["22423", "85099B"]),
    ("category", "Kitchen > Cups", "others", []),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def published(settings, store):
    shop = settings.model_copy(update={"key_prefix": "ncf"})
    lists = pd.DataFrame(LISTS, columns=list(Lists.ALL))
    lists[Lists.REASONS] = [REASONS.get(name) if audience == "customer" else None for audience, _, name, _ in LISTS]
    meta = {"model_version": "v7", "cutoff": "2011-12-09T12:51:00", "top_n": 3}
    publication.publish(shop, [lists], number=42, meta=meta)
    store.zadd("ncf:hidden", {"20725": float("inf"), "over": 1})
    for line in re.findall(r"ACL SETUSER .*", TEXT):
        store.execute_command(*line.split())
    with redis.Redis.from_url(settings.list_store().replace("default:test@", "stock:secret@")) as stock:
        stock.sadd("ncf:sold_out", "21733")
    store.xadd("ncf:changes", {"id": 1, "kind": "publication", "at": "2011-12-09", "data": '{"publication":"p000042"}'})
    yield settings.list_store().replace("redis://default:test@", "redis://reader:secret@")
    store.execute_command("ACL", "DELUSER", "reader", "writer", "stock", "dismisser", "api", "listener", "teller")
    store.delete("ncf:hidden", "ncf:sold_out", "ncf:dismissing", "ncf:changes")


@pytest.mark.parametrize("example", blocks("python"))
def test_a_python_example_runs(published, example):
    for user in ("reader", "dismisser", "listener"):
        example = example.replace(URL.replace("reader", user), published.replace("reader", user))
    assert published.rpartition("@")[2] in example
    subprocess.run([sys.executable, "-c", example], check=True, timeout=60)


def test_the_redis_cli_examples_print_what_is_shown(published):
    session = "".join(blocks("console"))
    examples = re.findall(r"\$ redis-cli (.*)\n((?:[^$].*\n)+)", session)
    assert len(examples) == session.count("$ ")
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("no redis-cli here")
    for command, shown in examples:
        ran = subprocess.run(
            [program, "-u", published, "--no-auth-warning", "--no-raw", *shlex.split(command)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout == shown, command


def test_the_php_example_finds_the_list(published):
    php = shutil.which("php")
    if php is None or "redis" not in subprocess.run([php, "-m"], capture_output=True, text=True).stdout.split():
        pytest.skip("no php with the redis extension here")
    port = redis.connection.parse_url(published)["port"]
    shown = []
    for example, variables in zip(blocks("php"), ("[$stockCodes, $ofCategory]", "[$stockCodes]"), strict=True):
        assert '"127.0.0.1", 6379' in example
        program = example.replace('"127.0.0.1", 6379', f'"127.0.0.1", {port}') + f"echo json_encode({variables});"
        ran = subprocess.run([php, "-r", program], capture_output=True, text=True, check=True, timeout=60)
        shown.append(json.loads(ran.stdout))
    assert shown == [[["23084", "22423", "22086"], ["22423", "85099B"]], [["23084", "22423", "22086"]]]


def test_the_node_example_finds_lists(published, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("no Node.js here")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", tmp_path, "redis@6"]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install redis here")
    shown = []
    for example in blocks("js"):
        assert URL in example
        # The process ends when the connection does.
        (tmp_path / "example.mjs").write_text(example.replace(URL, published) + "\nawait redis.close();\n")
        ran = subprocess.run(
            ["node", "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        shown.append([re.findall(r"'(\w+)'", codes) for codes in re.findall(r"\[[^]]*\]", ran.stdout)])
    assert shown == [
        [["23084", "22423", "22086"], ["22423"], ["22423", "85099B"], ["22423", "85099B", "22804"]],
        [["23084", "22423"]],
    ]


def test_the_curl_examples_print_what_is_shown(settings, published, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    (session,) = blocks("shell")
    examples = re.findall(r"\$ (curl .*)\n((?:[^$].*\n)+)", session)
    assert len(examples) == session.count("$ curl")
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('22804', 'CANDLEHOLDER', now())")
    users = {"READER": "r" * 20, "WRITER": "w" * 20}
    redis_url = type(settings.redis_url)(published.replace("reader:", "api:"))
    shop = settings.model_copy(update={"redis_url": redis_url, "key_prefix": "ncf"})
    app = create_app(shop, lambda: keys_in(f"reader={users['READER']} writer={users['WRITER']}"))
    with serving(app, server_of(app)) as address:
        environment = {**os.environ, **users, "API": address}
        for command, shown in examples:
            ran = subprocess.run(
                ["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
            )
            assert ran.stdout == shown.rstrip("\n"), command


def test_every_setting_that_is_named_is_one(settings):
    for name in set(re.findall(r"NCF_([A-Z_]+)", TEXT)):
        assert name.lower() in type(settings).model_fields
