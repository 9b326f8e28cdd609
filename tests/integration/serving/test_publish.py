"""What lists depend on changes while they are made: the tries have an end, and shoppers keep the previous lists."""

import logging

import pytest
from weekly_versions import TODAY, WEEK

from ncf_pipeline.errors import ChangedMeanwhileError, SupersededError
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publish as publish_stage
from ncf_pipeline.serving.publish import MAX_TRIES, refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storage.database import transaction


@pytest.fixture
def after_each_check(monkeypatch):
    """Calls a function after each check of lists, with the number of checks before it; returns how many there were."""

    def call(change):
        check, checked = publish_stage._check, []

        def check_and_change(*arguments, **options):
            try:
                check(*arguments, **options)
            finally:
                assert len(checked) <= MAX_TRIES, "a publisher never gives up"
                change(len(checked))
                checked.append(True)

        monkeypatch.setattr(publish_stage, "_check", check_and_change)
        return lambda: len(checked)

    return call


def test_a_refresh_that_is_superseded_each_time_gives_up_with_one_clear_error(
    shop, serve, live, after_each_check, caplog
):
    caplog.set_level(logging.INFO)
    versions = serve("a", TODAY - WEEK), serve("b")
    tries = after_each_check(lambda count: rollback(shop, versions[count % 2], actor="ops"))
    with pytest.raises(SupersededError) as caught:
        refresh(shop)
    assert tries() == MAX_TRIES == 5
    assert str(caught.value) == (
        "The refresh published nothing: another version was made to serve during each of 5 tries (v2, v1, v2, v1, v2). "
        "The previous lists stay live. When promotions and rollbacks are done, run refresh_lists or `ncf-pipeline "
        "refresh`."
    )
    assert live() == ("p000001", "v1")
    assert registry.champion(shop).version == 1
    said = [
        message for message in caplog.messages if message.endswith("starts again with the version that serves now.")
    ]
    assert len(said) == 5


def test_a_refresh_that_is_superseded_until_its_last_try_publishes(shop, serve, live, after_each_check):
    versions = serve("a", TODAY - WEEK), serve("b")

    def change(count):
        if count < MAX_TRIES - 1:
            rollback(shop, versions[count % 2], actor="ops")

    tries = after_each_check(change)
    number = refresh(shop)
    assert tries() == MAX_TRIES
    assert live() == (f"p{number:06d}", "v2")


def test_lists_whose_rules_change_during_each_try_are_not_published(shop, serve, live, after_each_check):
    """Each try makes lists with a product that was taken off the lists meanwhile."""
    serve("a")
    seen = live()

    def take_the_best_seller_off():
        with transaction(shop) as connection, connection.cursor() as cursor:
            cursor.execute(
                """
                insert into retail.unlisted_product
                select stock_code, 'out of stock'
                from retail.invoice_line
                where stock_code not in (select stock_code from retail.unlisted_product)
                group by stock_code order by count(*) desc, stock_code limit 1
                """
            )

    real = publish_stage.check_lists

    def check_after_an_edit(*arguments, **options):
        take_the_best_seller_off()
        return real(*arguments, **options)

    tries = after_each_check(lambda count: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish_stage, "check_lists", check_after_an_edit)
        with pytest.raises(ChangedMeanwhileError) as caught:
            refresh(shop)
    assert tries() == MAX_TRIES
    assert str(caught.value) == (
        "The lists of v1 were not published: during each of 5 tries what they depend on changed; last, a "
        "merchandiser changed the rules. The previous lists stay live. When the changes are done, run refresh_lists or "
        "`ncf-pipeline refresh`."
    )
    assert live() == seen
