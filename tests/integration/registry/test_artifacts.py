import hashlib
import json
from dataclasses import replace

import fsspec
import numpy as np
import pytest
import torch

from ncf_pipeline.errors import ArtifactError, DamagedModelError, OutdatedModelError
from ncf_pipeline.model.boosting import Trees
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.registry import artifacts


@pytest.fixture
def model():
    recipe = Recipe(embedding_dim=4, hidden=(8, 4))
    torch.manual_seed(1)
    return TrainedModel(
        recipe=recipe,
        cutoff=fixed("2011-11-11"),
        customers=["12346", "ann@example.com"],
        products=["22423", "85123A", "POST CARD É"],
        network=new_network(2, 3, recipe).eval(),
        epochs=2,
    )


def fixed(day):
    from datetime import datetime

    return datetime.fromisoformat(day)


@pytest.fixture
def with_trees(model):
    """The model with a tree for one question, which LightGBM has learned from noise."""
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(0)
    noise = random.random((400, len(FEATURES)))
    dataset = lightgbm.Dataset(noise, noise[:, 0] > 0.5, feature_name=list(FEATURES))
    text = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, dataset, 2).model_to_string()
    return replace(model, trees=Trees({"for_you": text}))


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path):
    if request.param == "file":
        return (tmp_path / "models" / "v000001").as_uri()
    return request.getfixturevalue("bucket") + "/models/v000001"


def stored(url, name):
    """The path of a file that the manifest lists."""
    filesystem, path = fsspec.core.url_to_fs(url)
    manifest = json.loads(filesystem.cat_file(f"{path}/manifest.json"))
    return f"{path}/{manifest.get('stored_as', {}).get(name, name)}"


def files(url):
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    return {entry.rsplit("/", 1)[-1]: filesystem.cat_file(entry) for entry in filesystem.find(path)}


def flip_a_bit(content):
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 4
    return bytes(damaged)


def test_a_model_comes_back_as_it_was(model, url):
    artifacts.save_model(model, url, lineage={"version": 1, "snapshot_id": "s000001"}, card="# Card")
    back = artifacts.load_model(url)
    assert (back.recipe, back.cutoff, back.customers, back.products, back.epochs) == (
        model.recipe,
        model.cutoff,
        model.customers,
        model.products,
        model.epochs,
    )
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[name], tensor)


def test_trees_are_among_the_tensors_and_outlive_an_erasure(with_trees, url):
    artifacts.save_model(with_trees, url, lineage={}, card="# Card")
    assert set(artifacts.read_manifest(url)["sha256"]) == {"model.safetensors", "vocabularies.json", "model_card.md"}
    assert artifacts.load_model(url).trees.texts == with_trees.trees.texts
    assert artifacts.erase_customer(url, "ann@example.com", {"erasure": 1})
    assert artifacts.load_model(url).trees.texts == with_trees.trees.texts


@pytest.mark.parametrize(
    ("found", "written"), [("end of trees", "end of it"), ("num_leaves=", "num_leaves=9"), ("Tree=1", "Tree=\0")]
)
def test_trees_that_cannot_be_read_are_damage_even_if_their_digest_is_right(with_trees, url, found, written):
    text = with_trees.trees.texts["for_you"]
    assert found in text
    with_trees.trees.texts["for_you"] = text.replace(found, written)
    artifacts.save_model(with_trees, url, lineage={}, card="")
    with pytest.raises(DamagedModelError, match=r"the trees for for_you cannot be read: .* Retrain, or roll") as raised:
        artifacts.load_model(url)
    assert "\n" not in str(raised.value)


def test_a_model_whose_customers_are_numbers_is_read_as_text_and_erased(model, url):
    """As it was written before version 0.2."""
    model = replace(model, customers=["12346", "17850"])
    artifacts.save_model(model, url, lineage={}, card="# Card")
    filesystem, path = fsspec.core.url_to_fs(url)
    manifest = json.loads(filesystem.cat_file(f"{path}/manifest.json"))
    content = json.dumps({"customers": [12346, 17850], "products": model.products}).encode()
    filesystem.pipe_file(f"{path}/vocabularies.json", content)
    manifest["sha256"]["vocabularies.json"] = hashlib.sha256(content).hexdigest()
    del manifest["stored_as"]["vocabularies.json"], manifest["manifest_sha256"]
    filesystem.pipe_file(f"{path}/manifest.json", artifacts.sealed(manifest))
    back = artifacts.load_model(url)
    assert (back.customers, back.products) == (model.customers, model.products)
    assert artifacts.erase_customer(url, "12346", {"erasure": 1})
    left = artifacts.load_model(url)
    assert left.customers == ["17850"]
    assert torch.equal(left.network.customer.weight[1], model.network.customer.weight[2])


def test_the_folder_holds_safetensors_json_and_a_card_and_no_pickle(model, url):
    artifacts.save_model(model, url, lineage={"snapshot_id": "s000001", "cutoff": "2011-12-09"}, card="# Card")
    found = files(url)
    manifest = json.loads(found.pop("manifest.json"))
    assert set(manifest["sha256"]) == {"model.safetensors", "vocabularies.json", "model_card.md"}
    for name, sha256 in manifest["sha256"].items():
        content = found.pop(f"{sha256[:16]}-{name}")
        assert hashlib.sha256(content).hexdigest() == sha256
    assert found == {"model_card.md": b"# Card"}  # for people
    assert manifest["snapshot_id"] == "s000001"
    assert manifest["config"]["recipe"]["embedding_dim"] == 4
    assert manifest["package_version"]


@pytest.mark.parametrize("name", ["model.safetensors", "vocabularies.json", "manifest.json"])
@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda content: content[: len(content) // 2], lambda content: b""],
    ids=["bit", "half", "empty"],
)
def test_a_damaged_file_is_refused(model, url, name, damage):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, _ = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(stored(url, name), damage(filesystem.cat_file(stored(url, name))))
    with pytest.raises(ArtifactError, match=f"{name} is damaged") as raised:
        artifacts.load_model(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("found", "written"), [(b"0.5", b"0.7"), (b'"format": 2', b'"format": 3'), (b"manifest_sha256", b"manifest_sha257")]
)
def test_a_manifest_that_was_edited_is_refused(model, url, found, written):
    artifacts.save_model(model, url, lineage={"rate": 0.5}, card="")
    filesystem, path = fsspec.core.url_to_fs(url)
    content = filesystem.cat_file(f"{path}/manifest.json")
    assert found in content
    filesystem.pipe_file(f"{path}/manifest.json", content.replace(found, written))
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.load_model(url)


def test_a_model_loads_even_if_somebody_edited_its_card(model, url):
    artifacts.save_model(model, url, lineage={}, card="# Card")
    filesystem, _ = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(stored(url, "model_card.md"), b"# Card\nSeen by us.")
    assert artifacts.load_model(url).products == model.products


def test_a_model_of_an_earlier_format_asks_for_a_retrain(model, url):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, path = fsspec.core.url_to_fs(url)
    manifest = artifacts.read_manifest(url)
    filesystem.pipe_file(f"{path}/manifest.json", json.dumps({**manifest, "format": 1}).encode())
    with pytest.raises(OutdatedModelError, match=r"earlier version.* Retrain"):
        artifacts.load_model(url)


@pytest.mark.parametrize("name", ["model.safetensors", "vocabularies.json", "manifest.json"])
def test_an_incomplete_folder_is_refused(model, url, name):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, _ = fsspec.core.url_to_fs(url)
    filesystem.rm(stored(url, name))
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        artifacts.load_model(url)


def test_swapped_vocabularies_are_refused(model, url):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, _ = fsspec.core.url_to_fs(url)
    swapped = {"customers": [12347, 12346], "products": model.products}
    filesystem.pipe_file(stored(url, "vocabularies.json"), json.dumps(swapped).encode())
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.load_model(url)


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"format": 99, "sha256": {}}'])
def test_a_manifest_that_is_not_valid_is_refused(model, url, manifest):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(f"{path}/manifest.json", manifest)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        artifacts.load_model(url)


def test_a_model_with_other_features_is_outdated_and_not_damaged(model, url):
    artifacts.save_model(model, url, lineage={}, card="")
    filesystem, path = fsspec.core.url_to_fs(url)
    manifest = artifacts.read_manifest(url)
    manifest["config"]["features"].append("more")
    filesystem.pipe_file(f"{path}/manifest.json", artifacts.sealed(manifest))
    with pytest.raises(OutdatedModelError, match=r"trained with other features .* Retrain"):
        artifacts.load_model(url)


def test_a_store_that_refuses_leaves_nothing_behind(model, tmp_path):
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(ArtifactError, match="was not written"):
        artifacts.save_model(model, (tmp_path / "models" / "v000001").as_uri(), lineage={}, card="")


def test_an_object_store_that_cannot_be_reached_is_an_error_of_one_line(model, bucket, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(ArtifactError, match="cannot be read") as raised:
        artifacts.load_model(f"{bucket}/models/v000001")
    assert "\n" not in str(raised.value)
    with pytest.raises(ArtifactError, match="was not written"):
        artifacts.save_model(model, f"{bucket}/models/v000001", lineage={}, card="")
