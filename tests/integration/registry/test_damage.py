"""A damaged model: shoppers keep their lists, and the shop can still roll back and retrain."""

import logging
from dataclasses import replace

import fsspec
import pytest
from weekly_versions import TODAY, WEEK

from ncf_pipeline.errors import ArtifactError, DamagedModelError
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training.earlier_versions import load_incumbent


def damage(settings, version, name="model.safetensors"):
    filesystem, path = fsspec.core.url_to_fs(artifacts.version_url(settings.artifacts, version))
    path = f"{path}/{artifacts.read_manifest(f'file://{path}')['stored_as'][name]}"
    content = bytearray(filesystem.cat_file(path))
    content[len(content) // 2] ^= 4
    filesystem.pipe_file(path, bytes(content))


def test_a_damaged_champion_is_refused_before_anything_is_published(shop, serve, live, store):
    first, second = serve("a", TODAY - WEEK), serve("b")
    damage(shop, second)
    seen, keys = live(), set(store.scan_iter())
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as storefront:
        before = storefront.for_customer(14601).stock_codes
        with pytest.raises(ArtifactError, match=r"v000002/model.safetensors is damaged: .* Retrain, or roll back."):
            refresh(shop)
        assert storefront.for_customer(14601).stock_codes == before
    assert (live(), set(store.scan_iter())) == (seen, keys)
    assert [entry.number for entry in registry.publications(shop)] == [2, 1]
    # The message's advice works.
    rollback(shop, actor="ops")
    assert live() == ("p000001", f"v{first}")
    assert refresh(shop) == 3


def test_a_damaged_incumbent_is_logged_and_an_unreachable_one_stops_the_run(shop, serve, monkeypatch, caplog):
    version = serve("a", TODAY - WEEK)
    candidate = replace(registry.model_version(shop, version), version=2, holdout_start=TODAY)
    assert load_incumbent(shop, candidate)[1] is not None
    load = artifacts.load_model
    monkeypatch.setattr(artifacts, "load_model", lambda url, **known: load(f"nowhere{url}", **known))
    with pytest.raises(ArtifactError) as unreachable:
        load_incumbent(shop, candidate)
    assert not isinstance(unreachable.value, DamagedModelError)
    monkeypatch.undo()
    damage(shop, version)
    caplog.set_level(logging.WARNING)
    _, model, told = load_incumbent(shop, candidate)
    assert model is None
    assert told.startswith("NO COMPARISON with the incumbent, v1, only with the baselines: file://")
    assert told in caplog.messages
