"""What the customers of a synthetic shop look at: planted intent, and noise.

Who will buy a product tends to view it in the days before, and may put it into the basket. Others view this and that.
So it is known what such events can be worth, and that those without intent are worth nothing.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline.columns import CART, EVENT_KINDS, VIEW, Events

_AGAIN = 0.6  # mean further views before a purchase
_NOISE_KINDS = (0.92, 0.05, 0.03)  # view, cart, wish
_DAY = 86_400.0  # seconds


def plant_events(
    customer: pd.Series,
    product: pd.Series,
    bought_at: pd.Series,
    *,
    seen: float = 0.3,
    carted: float = 0.3,
    days: float = 7.0,
    noise: float = 3.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Makes the events of a shop whose purchases are known. The same arguments make the same events.

    Args:
        customer: (L,) text, the customer of each line; missing for guests, who tell nothing.
        product: (L,) text, its stock code.
        bought_at: (L,) when it was bought.
        seen: the chance that a purchase was viewed in the `days` before it, once or more; 0 for noise alone.
        carted: of these, the share that was also put into the basket, within the last of the days.
        days: before a purchase.
        noise: events without any intent for each line: by any customer, of any product, as often as these are in the
            lines, at any time.
        seed: of all draws.

    Returns:
        Columns of `columns.Events`, in order of time; `at` is datetime64[s], and no session is told.

    Raises:
        ValueError: a chance is not from 0 to 1, or `days` or `noise` is below 0.
    """
    if not (0 <= seen <= 1 and 0 <= carted <= 1 and days > 0 and noise >= 0):
        raise ValueError("seen and carted are chances from 0 to 1, days is above 0, and noise is not below 0")
    random = np.random.default_rng(seed)
    known = customer.notna().to_numpy()
    who, what = customer[known].to_numpy(object), product[known].to_numpy(object)
    when = bought_at[known].astype("datetime64[s]").to_numpy().astype(np.int64)
    lines = len(who)

    viewed = np.flatnonzero(random.random(lines) < seen)
    views = np.repeat(viewed, 1 + random.poisson(_AGAIN, len(viewed)))
    carts = viewed[random.random(len(viewed)) < carted]
    before_view = random.uniform(60, days * _DAY, len(views))
    before_cart = random.uniform(60, min(days, 1.0) * _DAY, len(carts))

    count = round(noise * lines)
    somebody, something = random.integers(lines, size=(2, count)) if lines else np.zeros((2, 0), np.int64)
    first, last = (int(when.min()), int(when.max())) if lines else (0, 0)
    anytime = random.integers(first, last + 1, size=count)
    kind = np.array(EVENT_KINDS, object)[random.choice(len(EVENT_KINDS), size=count, p=_NOISE_KINDS)]
    events = pd.DataFrame(
        {
            Events.KIND: np.concatenate([np.full(len(views), VIEW), np.full(len(carts), CART), kind]).astype(object),
            Events.PRODUCT: np.concatenate([what[views], what[carts], what[something]]),
            Events.CUSTOMER: np.concatenate([who[views], who[carts], who[somebody]]),
            Events.SESSION: "",
            Events.AT: np.concatenate(
                [when[views] - before_view.astype(np.int64), when[carts] - before_cart.astype(np.int64), anytime]
            ).astype("datetime64[s]"),
        }
    )
    return events.sort_values([Events.AT, Events.CUSTOMER, Events.PRODUCT, Events.KIND], ignore_index=True)


def write_events(path: Path, events: pd.DataFrame, *, until: datetime | None = None) -> None:
    """Writes events as a CSV file that `ncf-pipeline events load` reads.

    Args:
        path: of the file.
        events: of `plant_events`.
        until: first instant excluded; None for all.
    """
    kept = events if until is None else events[events[Events.AT] < until]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    kept.assign(**{Events.AT: kept[Events.AT].dt.strftime("%Y-%m-%dT%H:%M:%S")}).to_csv(temporary, index=False)
    temporary.replace(path)
