import json
from datetime import date, datetime

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety
from ncf_pipeline.privacy import Erased, Mark
from ncf_pipeline.serving.drafts import Basis, Draft, shard_of, shards_for
from ncf_pipeline.settings import Settings

BASIS = Basis(
    today=date(2011, 12, 9),
    rules=Rules(
        hidden=frozenset({"22423", "71053"}),
        only_in={"85123A": frozenset({"France", "EIRE"})},
        pins=(Pin("22423", "for_you", "France", 2), Pin("84029G", "discover")),
        max_per_family=2,
    ),
    style=Style("value", Variety(family=2, repeat=1, places=4, categories={"22423": "cakes"}), 0.3),
    experiment=7,
    shown=41,
    reasons=True,
    chances=False,
    due=True,
)
DRAFT = Draft(7, 3, "s000001", datetime(2011, 12, 9), 10, 3, BASIS, 41, "", "s3://shop/drafts")


def test_what_lists_depend_on_is_stored_and_read_without_a_change():
    assert Basis.from_dict(json.loads(json.dumps(BASIS.as_dict()))) == BASIS


def test_each_shard_has_a_part_whose_address_names_draft_and_shard():
    assert DRAFT.parts() == [f"s3://shop/drafts/d000007/part-000{number}-of-0003.parquet" for number in (1, 2, 3)]
    assert [shard_of(part) for part in DRAFT.parts()] == [(7, 0), (7, 1), (7, 2)]
    with pytest.raises(InputError, match="is not a part of a draft"):
        shard_of("s3://shop/publications/p000007.parquet")


@pytest.mark.parametrize(("customers", "shards"), [(0, 1), (4_300, 1), (50_000, 1), (50_001, 2), (1_000_000, 20)])
def test_a_shop_has_a_shard_for_each_50_000_customers(customers, shards):
    assert shards_for(Settings(), customers) == shards
    assert shards_for(Settings(scoring_shards=3), customers) == 3


def test_each_erasure_changes_the_hash_of_who_was_erased():
    first = Mark(datetime(2011, 1, 1), without_country=False)
    again = Mark(datetime(2011, 2, 1), without_country=False)
    states = [
        Erased({}, b""),
        Erased({"a": first}, b""),
        Erased({"a": again}, b""),
        Erased({"a": first, "b": first}, b""),
    ]
    assert len({state.sha256 for state in states}) == len(states)
    assert Erased({"b": first, "a": first}, b"").sha256 == states[-1].sha256
