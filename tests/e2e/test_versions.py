"""The DAGs for rollbacks and pruning, with versions that learned nothing."""

import pytest
from weekly_versions import TODAY, WEEK, candidate, live, serve, shop, store  # noqa: F401

from ncf_pipeline.registry import versions as registry
from ncf_pipeline.storage.files import list_files

from ..integration.conftest import admitted, untrained  # noqa: F401

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


def states(run):
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


def test_a_rollback_to_the_version_in_the_form(dags, connections, serve, live):  # noqa: F811
    first, second = serve("a", TODAY - WEEK), serve("b")
    assert live() == ("p000002", f"v{second}")
    run = dags["rollback_model"].test(run_conf={"version": first, "reason": None, "instead_of": None})
    assert states(run) == {"choose": "success", "roll_back": "success"}
    assert live() == ("p000001", f"v{first}")
    assert registry.champion(connections).version == first
    event = registry.model_events(connections, first)[-1]
    assert event.to_state == "champion"
    assert event.actor.endswith("(manual)") or event.actor == "manual"
    assert event.reason == "rolled back to publication p000001"


def test_a_rollback_records_why_and_changes_nothing_if_another_version_serves_by_then(
    dags,
    connections,
    serve,  # noqa: F811
    live,  # noqa: F811
):
    first, second = serve("a", TODAY - WEEK), serve("b")
    stale = dags["rollback_model"].test(run_conf={"version": first, "reason": "umbrellas", "instead_of": 7})
    assert states(stale)["roll_back"] == "failed"
    assert live() == ("p000002", f"v{second}")
    run = dags["rollback_model"].test(run_conf={"version": first, "reason": "umbrellas", "instead_of": second})
    assert states(run)["roll_back"] == "success"
    assert live() == ("p000001", f"v{first}")
    assert registry.model_events(connections, first)[-1].reason == "rolled back to publication p000001: umbrellas"


def test_a_rollback_to_a_version_that_never_served_fails_and_changes_nothing(
    dags,
    connections,
    serve,  # noqa: F811
    candidate,  # noqa: F811
    live,  # noqa: F811
):
    serve("a", TODAY - WEEK)
    other, seen = candidate("b"), live()
    run = dags["rollback_model"].test(run_conf={"version": other, "reason": None, "instead_of": None})
    assert states(run)["roll_back"] == "failed"
    assert live() == seen


def test_pruning_removes_the_backtests_of_runs_that_have_ended(dags, connections, serve, live):  # noqa: F811
    serve("a", TODAY - WEEK)
    second = serve("b")
    assert any(name.startswith("v000002") for name in list_files(f"{connections.artifacts}/backtests"))
    run = dags["prune_artifacts"].test()
    assert states(run) == {"prune": "success"}
    assert not any(name.endswith(".safetensors") for name in list_files(f"{connections.artifacts}/backtests"))
    assert live() == ("p000002", f"v{second}")
    assert [entry.pruned_at for entry in registry.model_versions(connections)] == [None, None]
