"""Lists, reasons and refreshes of a model that reads what customers look at."""

import json
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
import torch
from lookers import look
from weekly_versions import TODAY, WEEK

from ncf_pipeline.columns import CART, VIEW, Interactions, Lists
from ncf_pipeline.model.features.looks import LOOKS
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving.campaigns import customers_for
from ncf_pipeline.serving.publish import prepare, publish_parts, refresh
from ncf_pipeline.serving.scoring import score_shards
from ncf_pipeline.serving.why import why
from ncf_pipeline.storage.database import transaction

WHO, OTHER = "14605", "14606"


def looking(frozen, seed):
    """A model whose network has learned one thing: what was put into a basket is bought."""
    customers = sorted(frozen.interactions[Interactions.CUSTOMER_ID].dropna().unique().tolist())
    products = frozen.products["stock_code"].tolist()
    recipe = Recipe(embedding_dim=4, hidden=(8, 4), popular_candidates=20, taste_candidates=2).with_looks()
    torch.manual_seed(seed)
    network = new_network(len(customers), len(products), recipe).eval()
    with torch.no_grad():
        network.feature_scale.fill_(1.0)
        network.linear.weight[:, len(FEATURES) + LOOKS.index("in_cart")] = 100.0
    return TrainedModel(recipe, frozen.cutoff, customers, products, network, epochs=1)


@pytest.fixture
def carted(shop, promoted):
    """The shop, in which two customers look at something; the model that serves reads that. And the product."""
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select stock_code from retail.invoice_line where customer_id = %s", (WHO,))
        bought = {code for (code,) in cursor.fetchall()}
    code = next(f"{number}" for number in range(22149, 21999, -1) if f"{number}" not in bought)
    look(shop, (OTHER, code, VIEW, TODAY - timedelta(days=2)))
    promoted(take_snapshot(shop, TODAY - WEEK), "looking", looking)
    refresh(shop)
    return shop, code


def lists_of(settings, customer, name="discover"):
    newest = registry.publications(settings)[0]
    lists = pq.read_table(newest.url.removeprefix("file://")).to_pandas()
    (row,) = lists[(lists[Lists.KEY] == customer) & (lists[Lists.LIST_NAME] == name)].to_dict("records")
    return list(row[Lists.STOCK_CODES]), [tuple(reason) for reason in json.loads(row[Lists.REASONS])]


def test_a_product_in_the_basket_leads_the_lists_and_says_so(carted):
    settings, code = carted
    assert code not in lists_of(settings, WHO)[0][:1]
    look(settings, (WHO, code, CART, TODAY - timedelta(days=3)))
    refresh(settings)
    for name in ("for_you", "discover"):
        codes, reasons = lists_of(settings, WHO, name)
        assert (codes[0], reasons[0]) == (code, ("carted",))
    answers = {answer.list_name: answer for answer in why(settings, WHO, code).answers}
    assert answers["for_you"].cause == "shown"
    assert answers["for_you"].kept_at == 1
    assert customers_for(settings, code, top=3).customers[0].customer_id == WHO


def test_why_scores_a_customer_again_with_the_looks_that_made_the_live_lists(carted):
    settings, code = carted
    short = settings.model_copy(update={"top_n": 2, "spare": 0})
    carts = [f"{number}" for number in range(22140, 22149) if f"{number}" != code]
    look(settings, *((WHO, each, CART, TODAY - timedelta(days=3)) for each in carts))
    refresh(short)
    look(settings, (WHO, code, CART, TODAY - timedelta(days=1)))  # later than the lists know
    live, _ = lists_of(short, WHO, "for_you")
    left = next(each for each in carts if each not in live)
    found = why(short, WHO, left)
    assert found.reproduced
    assert found.answers[0].cause == "too low"
    assert found.answers[0].place <= len(carts)


def test_a_refresh_of_who_changed_scores_those_who_looked(carted):
    settings, code = carted
    changed = settings.model_copy(update={"refresh": "changed", "refresh_max_difference": 1.0})
    refresh(changed)
    assert scored_because(changed) == {}
    look(settings, (WHO, code, CART, TODAY - timedelta(days=3)))
    look(settings, (OTHER, code, VIEW, TODAY - timedelta(days=60)))  # so old that it counts for nothing
    look(settings, ("stranger", code, CART, TODAY - timedelta(days=3)))
    refresh(changed)
    assert scored_because(changed) == {"looks": 1}
    assert lists_of(changed, WHO)[0][0] == code


def test_parts_of_several_processes_know_the_looks(carted):
    settings, code = carted
    look(settings, (WHO, code, CART, TODAY - timedelta(days=3)))
    parts = prepare(settings.model_copy(update={"scoring_shards": 2}))
    score_shards(settings, parts)
    publish_parts(settings, parts)
    assert lists_of(settings, WHO)[0][0] == code


def scored_because(settings):
    """How many customers the newest publication scored, by why."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select refreshed -> 'scored' from ml.publication order by number desc limit 1")
        return cursor.fetchone()[0]
