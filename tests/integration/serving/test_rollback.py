"""Rollbacks and roll-forwards: what shoppers see, what the registry says, what the next retrain is compared with."""

from dataclasses import replace
from datetime import timedelta

import pytest
from redis.exceptions import ReadOnlyError
from typer.testing import CliRunner
from weekly_versions import TODAY, sell

from ncf_pipeline.cli import app
from ncf_pipeline.errors import ArtifactError, InputError, ListStoreError, SupersededError
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publication
from ncf_pipeline.serving import publish as publish_stage
from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import Rollback, rollback, servable_versions
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import retrain

WEEK = timedelta(days=7)


def test_if_redis_holds_the_previous_lists_only_the_pointer_moves(shop, serve, live, states, store):
    first, second = serve("a", TODAY - WEEK), serve("b")
    assert live() == ("p000002", f"v{second}")
    keys = set(store.scan_iter())
    assert rollback(shop, actor="ops") == Rollback(version=first, publication=1, flipped=True)
    assert live() == ("p000001", f"v{first}")
    assert states() == {first: "champion", second: "retired"}
    assert set(store.scan_iter()) == keys


def test_if_redis_has_dropped_them_the_kept_lists_are_published_again(shop, serve, live, store):
    first = serve("a", TODAY - WEEK)
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as storefront:
        before = storefront.for_customer(14601).stock_codes
    serve("b")
    store.flushall()
    result = rollback(shop, actor="ops")
    assert result == Rollback(version=first, publication=3, flipped=False)
    assert live() == ("p000003", f"v{first}")
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as storefront:
        assert storefront.for_customer(14601).stock_codes == before


def test_forward_again_works_and_the_version_is_no_longer_withdrawn(shop, serve, live, states):
    first, second = serve("a", TODAY - WEEK), serve("b")
    rollback(shop, actor="ops")
    assert registry.model_version(shop, second).withdrawn_at is not None
    assert rollback(shop, second, actor="ops").flipped
    assert live() == ("p000002", f"v{second}")
    assert states() == {first: "retired", second: "champion"}
    assert [registry.model_version(shop, version).withdrawn_at for version in (first, second)] == [None, None]


def test_a_second_rollback_goes_further_back_and_never_to_a_withdrawn_version(shop, serve):
    first, second, third = (serve(key, TODAY - weeks * WEEK) for weeks, key in ((2, "a"), (1, "b"), (0, "c")))
    assert [rollback(shop, actor="ops").version for _ in range(2)] == [second, first]
    with pytest.raises(InputError, match="nothing to roll back to"):
        rollback(shop, actor="ops")
    assert [entry.version for entry in servable_versions(shop)] == [third, second, first]
    assert [entry.withdrawn for entry in servable_versions(shop)] == [True, True, False]


def test_the_same_version_again_changes_nothing(shop, serve, live):
    first, _ = serve("a", TODAY - WEEK), serve("b")
    rollback(shop, first, actor="ops")
    seen, events = live(), registry.model_events(shop, first)
    assert rollback(shop, first, actor="ops").version == first
    assert (live(), registry.model_events(shop, first)) == (seen, events)


def test_every_step_is_in_the_audit_table_with_who_and_why(shop, serve):
    first, second = serve("a", TODAY - WEEK), serve("b")
    rollback(shop, actor="ops")
    assert [
        (event.from_state, event.to_state, event.actor, event.reason)
        for version in (first, second)
        for event in registry.model_events(shop, version)
    ] == [
        (None, "candidate", "test of a", "run a"),
        ("candidate", "champion", "test of a", "the gate let it through"),
        ("champion", "retired", "test of b", "the gate let it through"),
        ("retired", "champion", "ops", "rolled back to publication p000001"),
        (None, "candidate", "test of b", "run b"),
        ("candidate", "champion", "test of b", "the gate let it through"),
        ("champion", "retired", "ops", "rolled back to publication p000001"),
    ]


def test_the_next_retrain_is_compared_with_the_restored_version(shop, serve):
    first, second = serve("a", TODAY - 2 * WEEK), serve("b", TODAY - WEEK)

    def incumbent():
        return registry.incumbent(shop, holdout_start=TODAY, before_version=99).version

    assert incumbent() == second
    rollback(shop, actor="ops")
    assert incumbent() == first
    rollback(shop, second, actor="ops")
    assert incumbent() == second


def test_a_refresh_scores_with_the_restored_version(shop, serve, live):
    first, _ = serve("a", TODAY - WEEK), serve("b")
    rollback(shop, actor="ops")
    sell(shop, TODAY, TODAY + timedelta(days=1))
    assert refresh(shop) == 3
    assert live() == ("p000003", f"v{first}")


def test_a_refresh_that_ran_meanwhile_does_not_undo_it(shop, serve, live, monkeypatch):
    """It scored with the previous version, and was about to make its lists live."""
    first, _ = serve("a", TODAY - WEEK), serve("b")
    check, calls = publish_stage._check, []

    def roll_back_meanwhile(*arguments, **options):
        check(*arguments, **options)
        if not calls:
            calls.append(rollback(shop, actor="ops"))

    monkeypatch.setattr(publish_stage, "_check", roll_back_meanwhile)
    refresh(shop)
    assert live()[1] == f"v{first}"
    assert next(entry.version for entry in registry.publications(shop)) == first


def test_a_refresh_that_was_already_writing_is_called_off(shop, serve, live, monkeypatch):
    """It read the registry before the rollback changed it: the hardest moment."""
    first, second = serve("a", TODAY - WEEK), serve("b")
    restore, written = registry.restore, []
    publish = publication.publish

    def write_meanwhile(*arguments, **options):
        entry = registry.model_version(shop, second)
        lists = publish_stage._while_champion(shop, second, publish_stage.batches(registry.publications(shop)[0].url))
        head = next(lists)  # it has read the registry

        def rest():
            yield head
            restore(*arguments, **options)
            assert not publication.hold(shop, 1)  # what the rollback does next
            yield from lists

        with pytest.raises(Exception, match="called off by a rollback"):
            publish(shop, rest(), number=9, meta={"model_version": entry.name})
        written.append(True)

    monkeypatch.setattr(registry, "restore", write_meanwhile)
    rollback(shop, actor="ops")
    assert written
    assert live() == ("p000001", f"v{first}")


def test_a_refresh_that_went_live_before_the_registry_knew_is_flipped_back(shop, serve, live, monkeypatch):
    first, second = serve("a", TODAY - WEEK), serve("b")
    restore = registry.restore

    def refresh_meanwhile(*arguments, **options):
        assert refresh(shop) == 3
        assert live() == ("p000003", f"v{second}")
        restore(*arguments, **options)

    monkeypatch.setattr(registry, "restore", refresh_meanwhile)
    rollback(shop, actor="ops")
    assert live() == ("p000001", f"v{first}")
    assert [period.number for period in live_periods.live_periods(shop)][-2:] == [3, 1]


def test_if_the_flipped_lists_are_not_renewed_the_error_says_that_they_are_live(shop, serve, live, monkeypatch):
    first, _ = serve("a", TODAY - WEEK), serve("b")

    def refuse(*_):
        raise ReadOnlyError("You can't write against a read only replica.")

    with monkeypatch.context() as patch:
        patch.setattr(contents, "extend", refuse)
        with pytest.raises(ListStoreError, match=r"p000001 is live, but its lists expire when they did before\."):
            rollback(shop, first, actor="ops")
    assert live() == ("p000001", f"v{first}")
    assert rollback(shop, first, actor="ops").version == first


def test_shoppers_do_not_wait_until_the_lists_are_renewed(shop, serve, live, store, states, monkeypatch):
    first, second = serve("a", TODAY - WEEK), serve("b")
    for key in store.scan_iter(f"{shop.key_prefix}:p000001:*"):
        store.expire(key, 1000)
    renew, seen = publication.renew, []

    def look(*arguments):
        seen.append((live(), states()))
        renew(*arguments)

    monkeypatch.setattr(publication, "renew", look)
    rollback(shop, actor="ops")
    assert seen == [(("p000001", f"v{first}"), {first: "champion", second: "retired"})]
    lives = [store.ttl(key) for key in store.scan_iter(f"{shop.key_prefix}:p000001:*")]
    assert min(lives) > shop.list_ttl_days * 86_400 - 60


def test_lists_that_redis_has_lost_in_part_are_published_again(shop, serve, live, store):
    first, _ = serve("a", TODAY - WEEK), serve("b")
    store.delete(f"{shop.key_prefix}:p000001:customer:14601")
    result = rollback(shop, actor="ops")
    assert result == Rollback(version=first, publication=3, flipped=False)
    assert store.exists(f"{shop.key_prefix}:p000003:customer:14601")


def test_a_retrain_that_ran_meanwhile_does_not_undo_it(shop, serve, candidate, states, live):
    first, second = serve("a", TODAY - WEEK), serve("b", TODAY - WEEK)
    running = candidate("running")
    rollback(shop, actor="ops")
    seen = live()
    assert not retrain.register(shop, running)
    assert states() == {first: "champion", second: "retired", running: "held"}
    (reason,) = registry.gate_decision(shop, running).reasons
    assert f"v{first} was made champion at" in reason
    assert f"by ops (rolled back to publication p000001), after this run began under v{second}" in reason
    assert registry.model_events(shop, running)[-1].reason == reason
    with pytest.raises(SupersededError, match=f"v{running} were not published: v{first} serves"):
        retrain.publish(shop, running)
    assert live() == seen
    # The next one, which began afterwards, is free to follow.
    assert retrain.register(shop, candidate("next"))


def test_a_publish_task_that_is_tried_again_after_a_rollback_does_not_undo_it(shop, serve, candidate, live):
    first = serve("a", TODAY - WEEK)
    second = candidate("b")
    assert retrain.register(shop, second)
    rollback(shop, actor="ops")
    with pytest.raises(SupersededError):
        retrain.publish(shop, second)
    assert live() == ("p000001", f"v{first}")


def test_lists_that_are_no_longer_kept_leave_everything_as_it_is(shop, serve, store, states, monkeypatch):
    first, second = serve("a", TODAY - WEEK), serve("b")
    store.flushall()
    real = registry.publications
    lost = lambda settings: [replace(entry, url=f"{shop.artifacts}/lost.parquet") for entry in real(settings)]  # noqa: E731
    monkeypatch.setattr(registry, "publications", lost)
    with pytest.raises(ArtifactError, match="Choose another version"):
        rollback(shop, actor="ops")
    assert states() == {first: "retired", second: "champion"}


def test_a_version_that_never_served_is_refused(shop, serve, candidate):
    serve("a")
    other = candidate("b")
    with pytest.raises(InputError, match=f"v{other} never served"):
        rollback(shop, other, actor="ops")


def test_the_command_says_what_serves_now(shop, serve, monkeypatch):
    first, _ = serve("a", TODAY - WEEK), serve("b")
    for name, value in {
        "DATABASE_URL": shop.database(),
        "REDIS_URL": shop.list_store(),
        "KEY_PREFIX": shop.key_prefix,
    }.items():
        monkeypatch.setenv(f"NCF_{name}", value)
    done = CliRunner().invoke(app, ["rollback"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"v{first} serves again, as publication p000001."
    monkeypatch.setenv("COLUMNS", "120")
    assert "retired, withdrawn" in CliRunner().invoke(app, ["models"]).stdout
