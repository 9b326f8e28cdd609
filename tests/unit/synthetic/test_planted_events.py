import pandas as pd
import pytest
from shop_with_tastes import make_shop

from ncf_pipeline.columns import Events
from ncf_pipeline.synthetic import plant_events, write_events

SHOP = make_shop()
LINES = (SHOP["customer_id"], SHOP["stock_code"], SHOP["purchased_at"])


def test_the_same_seed_plants_the_same_and_another_seed_something_else():
    events = plant_events(*LINES, seed=4)
    assert list(events) == list(Events.ALL)
    assert events.equals(plant_events(*LINES, seed=4))
    assert not events.equals(plant_events(*LINES, seed=5))


def test_so_many_purchases_were_viewed_in_the_week_before():
    events = plant_events(*LINES, seen=0.4, carted=0.5, noise=0)
    bought = SHOP.dropna(subset=["customer_id"]).merge(
        events, left_on=["customer_id", "stock_code"], right_on=["customer", "product"]
    )
    before = bought["purchased_at"] - bought["at"]
    intent = bought[(before > pd.Timedelta(0)) & (before <= pd.Timedelta(days=7))]
    views, carts = (intent[intent["kind"] == kind] for kind in ("view", "cart"))
    line = ["customer_id", "stock_code", "invoice_no"]
    share = views[line].drop_duplicates().shape[0] / SHOP["customer_id"].notna().sum()
    assert share == pytest.approx(0.4, abs=0.04)
    assert len(carts[line].drop_duplicates()) / len(views[line].drop_duplicates()) == pytest.approx(0.5, abs=0.05)
    assert set(events["kind"]) == {"view", "cart"}


def test_noise_is_of_any_time_and_of_known_customers():
    events = plant_events(*LINES, seen=0, noise=2)
    assert len(events) == 2 * SHOP["customer_id"].notna().sum()
    assert set(events["customer"]) <= set(SHOP["customer_id"].dropna())
    assert set(events["kind"]) == {"view", "cart", "wish"}


def test_an_impossible_chance_is_refused():
    with pytest.raises(ValueError, match="chances from 0 to 1"):
        plant_events(*LINES, seen=1.2)


def test_a_file_of_events_has_what_is_before_an_instant(tmp_path):
    events = plant_events(*LINES)
    until = events["at"].iloc[len(events) // 2]
    write_events(tmp_path / "some" / "events.csv", events, until=until)
    written = pd.read_csv(tmp_path / "some" / "events.csv", dtype=str)
    assert list(written) == list(Events.ALL)
    assert len(written) == (events["at"] < until).sum()
    assert written["at"].iloc[0] == events["at"].iloc[0].isoformat()
