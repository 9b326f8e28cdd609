"""Vectors of customers and products as Parquet: their dot products are what docs/embeddings.md says they are."""

import copy
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from psycopg2.extras import execute_values
from typer.testing import CliRunner
from weekly_versions import TODAY, WEEK

from ncf_pipeline.cli import app
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ArtifactError, ErasedMeanwhileError, InputError
from ncf_pipeline.model import embeddings as vectors
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.network_scorer import NetworkScorer
from ncf_pipeline.registry import snapshot_files
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff, read_snapshot, take_snapshot
from ncf_pipeline.serving import embeddings
from ncf_pipeline.serving.embeddings import CUSTOMERS, PRODUCTS, write_embeddings
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import read_rows, transaction

LATER, NEW_CODE, ALL_RETURNED = "14990", "99999", "22149"
"""A customer and a product that came after training, and a product that everybody brought back."""


def weights(frozen, untrained):
    """A model whose weights are all large enough to be told apart."""
    model = untrained(frozen, 0)
    with torch.no_grad():
        for table in model.network.parameters():
            table.copy_(0.3 * torch.randn(table.shape))
    return replace(model, customers=model.customers[1:], network=_without_first(model.network))


def _without_first(network):
    """Without the row of the first customer, who is then unknown to the model."""
    smaller = copy.deepcopy(network)
    smaller.customer = torch.nn.Embedding.from_pretrained(network.customer.weight[[0, *range(2, 41)]].clone())
    return smaller


@pytest.fixture
def folder(tmp_path):
    """Where they are written: it is not there yet."""
    return tmp_path / "vectors"


@pytest.fixture
def served(shop, promoted, untrained):
    """A shop with a model of four weeks ago."""
    promoted(take_snapshot(shop, TODAY - 4 * WEEK), "a", lambda frozen, _: weights(frozen, untrained))
    at = TODAY - timedelta(days=2)
    rows = [("L1", line, code, "NEW", 2, at, 1.0, LATER, "France", 7) for line, code in enumerate(("22001", NEW_CODE))]
    with transaction(shop) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        cursor.execute("insert into retail.product values (%s, 'NEW', %s)", (NEW_CODE, TODAY))
        cursor.execute("delete from retail.invoice_line where stock_code = %s", (ALL_RETURNED,))
    return shop


def read(folder):
    customers, products = (pq.read_table(folder / name) for name in (CUSTOMERS, PRODUCTS))
    return (
        dict(zip(customers["customer_id"].to_pylist(), matrix(customers, "embedding"), strict=True)),
        products["stock_code"].to_pylist(),
        {name: matrix(products, name) for name in ("for_you", "discover", "similar")},
    )


def matrix(table, name):
    column = table[name].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def scorers(settings):
    """The scorer of the served model, and that of the same without the GMF part."""
    model = embeddings.model_of(settings, registry.champion(settings))
    without = copy.deepcopy(model.network)
    with torch.no_grad():
        without.gmf.weight.zero_()
    frozen = read_snapshot(settings, take_snapshot(settings))
    state = ShopState(encode(frozen.interactions, frozen.cutoff), microseconds(frozen.cutoff), model.feature_recipe)
    return NetworkScorer(model, state), NetworkScorer(replace(model, network=without), state)


def test_a_customers_dot_products_are_the_gmf_part_of_their_scores(served, tmp_path):
    written = write_embeddings(served, tmp_path)
    customers, codes, of_products = read(tmp_path)
    assert (written.customers, written.products, written.dimension) == (41, len(codes), 4)
    whole, rest = scorers(served)
    events, everybody, compared = whole.state.events, whole.state.known_customers, 0
    assert set(events.customers[everybody]) == set(customers)
    place = {code: row for row, code in enumerate(codes)}
    for scored, others in zip(whole.candidates(everybody), rest.candidates(everybody), strict=True):
        owner = np.repeat(scored.customer, np.diff(scored.start))
        for row, (who, product) in enumerate(zip(owner, scored.product, strict=True)):
            code = events.products[product]
            if code not in place:
                assert code == NEW_CODE
                continue
            mine = customers[events.customers[who]]
            for name in ("for_you", "discover"):
                part = getattr(scored, name)[row] - getattr(others, name)[row]
                assert mine @ of_products[name][place[code]] == pytest.approx(part, abs=1e-4)
                compared += abs(part) > 0.01
    assert compared > 1000


def test_products_are_ordered_by_their_dot_product_as_the_lists_similar_are(served, tmp_path):
    write_embeddings(served, tmp_path)
    _, codes, of_products = read(tmp_path)
    similar = of_products["similar"]
    assert np.linalg.norm(similar, axis=1) == pytest.approx(1, abs=1e-5)
    whole, _ = scorers(served)
    names, lists = whole.state.events.products, whole.similar(np.ones(whole.state.shape[1], np.bool_), 5)
    assert {str(names[product]) for product in lists} == set(codes)
    cosine = similar @ similar.T
    np.fill_diagonal(cosine, -np.inf)
    for product, listed in lists.items():
        mine = cosine[codes.index(names[product])]
        best = [codes[place] for place in np.argsort(-mine, kind="stable")[:5]]
        assert [str(names[other]) for other in listed] == best


def test_who_and_what_is_in_the_files(served, tmp_path):
    write_embeddings(served, tmp_path)
    customers, codes, _ = read(tmp_path)
    model = embeddings.model_of(served, registry.champion(served))
    assert "14600" in customers.keys() - set(model.customers)  # the model does not know them, but what they bought
    assert LATER in customers
    assert set(codes) == set(model.products) - {ALL_RETURNED}


def test_a_customer_who_came_after_training_is_made_of_what_they_bought(served, tmp_path):
    write_embeddings(served, tmp_path)
    customers, _, _ = read(tmp_path)
    model = embeddings.model_of(served, registry.champion(served))
    bought = 1 + model.products.index("22001")
    network = model.network
    expected = network.customer.weight[0] + (network.bought.weight[bought] + network.bought.weight[0]) / 2**0.5
    assert customers[LATER] == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_they_are_the_same_whatever_is_in_memory_at_once(served, tmp_path, monkeypatch):
    write_embeddings(served, tmp_path / "one")
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 500)
    monkeypatch.setattr(vectors, "CUSTOMERS_AT_ONCE", 3)
    write_embeddings(served, tmp_path / "parts")
    (customers, codes, products), (also, codes_too, products_too) = read(tmp_path / "one"), read(tmp_path / "parts")
    assert list(customers) != list(also)
    assert customers.keys() == also.keys()
    for who, vector in customers.items():
        assert (also[who] == vector).all()
    assert codes == codes_too
    assert all((products_too[name] == products[name]).all() for name in products)


def test_the_files_say_what_they_are(served, tmp_path):
    write_embeddings(served, tmp_path)
    model = embeddings.model_of(served, registry.champion(served))
    for name, columns in (
        (CUSTOMERS, {"customer_id": pa.string(), "embedding": pa.list_(pa.float32(), 4)}),
        (
            PRODUCTS,
            {
                "stock_code": pa.string(),
                "for_you": pa.list_(pa.float32(), 4),
                "discover": pa.list_(pa.float32(), 4),
                "similar": pa.list_(pa.float32(), 8),
            },
        ),
    ):
        schema = pq.read_schema(tmp_path / name)
        assert dict(zip(schema.names, schema.types, strict=True)) == columns
        facts = {key.decode(): value.decode() for key, value in schema.metadata.items()}
        assert (facts["ncf.version"], facts["ncf.dimension"]) == ("1", "4")
        assert json.loads(facts["ncf.recipe"]) == model.recipe.as_dict()
        assert facts["ncf.as_of"] == newest_cutoff(served).isoformat()
        assert facts["ncf.cutoff"] == (TODAY - 4 * WEEK).isoformat()


def test_who_was_erased_is_not_in_it(served, tmp_path):
    forget(served, "14601", requested_by="test")
    write_embeddings(served, tmp_path)
    customers, _, _ = read(tmp_path)
    assert "14601" not in customers
    assert "14602" in customers


def test_an_erasure_meanwhile_or_a_damaged_snapshot_leaves_the_older_files(served, folder, monkeypatch):
    def refused(*_):
        raise ErasedMeanwhileError("A customer was erased.")

    monkeypatch.setattr(embeddings, "refuse_if_erased_since", refused)
    with pytest.raises(ErasedMeanwhileError):
        write_embeddings(served, folder)
    monkeypatch.undo()
    assert list(folder.iterdir()) == []  # also nothing that is not whole
    write_embeddings(served, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (*_, newest) = read_rows(served, "snapshots")
    part = Path(snapshot_files.parts_of(newest.url)[0].removeprefix("file://"))
    table = pq.read_table(part)
    pq.write_table(table.slice(1), part)
    with pytest.raises(ArtifactError, match="its content has another SHA-256"):
        write_embeddings(served, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_version_without_a_network_says_so_in_one_line(shop, folder):
    with pytest.raises(InputError, match="Nothing serves yet, so there is no network"):
        write_embeddings(shop, folder)
    refresh(shop)
    for version in (None, 0):
        with pytest.raises(InputError, match=r"Version 0 \(baselines\) counts and has no network, so it has no emb"):
            write_embeddings(shop, folder, version)
    with pytest.raises(InputError, match="There is no model version 7"):
        write_embeddings(shop, folder, 7)
    assert not folder.exists()


def test_a_version_that_was_held_has_no_model(served, admitted, untrained, folder):
    held = admitted(take_snapshot(served, TODAY), "b", untrained)
    with transaction(served) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set url = null where version = %s", (held,))
    with pytest.raises(InputError, match=f"v{held} has no model: it never passed the gate, or was pruned"):
        write_embeddings(served, folder, held)


def test_the_command(served, tmp_path, monkeypatch):
    for name in ("home", "artifacts_url", "key_prefix"):
        monkeypatch.setenv(f"NCF_{name.upper()}", str(getattr(served, name)))
    monkeypatch.setenv("NCF_DATABASE_URL", served.database())
    monkeypatch.setenv("NCF_REDIS_URL", served.list_store())
    served.home.chmod(0o700)

    def command(*arguments):
        return CliRunner().invoke(app, ["embeddings", *map(str, arguments)], catch_exceptions=False)

    shown = command("--to", tmp_path / "a" / "b")
    count = len(read(tmp_path / "a" / "b")[1])
    assert shown.stdout == (
        f"Wrote 41 customers and {count} products of v1 to {tmp_path}/a/b, as of "
        f"{newest_cutoff(served):%Y-%m-%d %H:%M}.\n"
    )
    answer = json.loads(command("v1", "--to", tmp_path / "c", "--json").stdout)
    assert (answer["version"], answer["dimension"], answer["customers"]) == (1, 4, 41)
    assert command("first", "--to", tmp_path).exit_code == 2
