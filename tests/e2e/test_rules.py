"""Rules in the DAGs: previewed by a run, published by a refresh, and an alert while one matches nothing."""

import pytest

from ncf_pipeline import alerts, synthetic
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Rule
from ncf_pipeline.storefront import Storefront

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


def best_sellers(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, timeout=5) as shop:
        return list(shop.for_customer("nobody").stock_codes)


def idle_rules(settings):
    return [incident for incident in alerts.incidents(settings) if incident.kind == "rule_idle"]


def test_from_a_preview_to_the_lists_and_an_alert_while_a_rule_matches_nothing(dags, connections, tmp_path):
    synthetic.write_workbook(tmp_path / "invoices.xlsx", customers=60, products=60, days=90, seed=2)
    ingest(connections, [str(tmp_path / "invoices.xlsx")])
    idle = Change(put=(Rule("only in", "NONESUCH", ("Atlantis",)),))
    mistake = changes.apply(connections, idle, actor="anna", reason=None)
    assert str(dags["refresh_lists"].test().state) == "success"
    (incident,) = idle_rules(connections)
    assert "NONESUCH only in Atlantis: The shop never sold NONESUCH" in incident.body

    first = best_sellers(connections)[0]
    number = previews.ask(connections, Change(put=(Rule("hidden", first),)), asked_by="anna", reason=None, seen=mistake)
    assert str(dags["preview_rules"].test(run_conf={"preview": number}).state) == "success"
    seen = previews.preview(connections, number)
    assert (seen.state, seen.result.version, seen.result.customers) == ("ready", "v0", 60)
    assert 0 < seen.result.customers_changed <= 60
    assert best_sellers(connections)[0] == first

    previews.save(connections, number, actor="anna")
    changes.undo(connections, mistake, actor="anna")
    assert str(dags["refresh_lists"].test().state) == "success"
    assert first not in best_sellers(connections)
    assert idle_rules(connections) == []
