from contextlib import ExitStack
from datetime import datetime, timedelta

import pandas as pd
import pytest
from psycopg2.extras import execute_values
from web_server import serving

from ncf_pipeline.columns import Lists
from ncf_pipeline.pages.demo_shop.app import create_app
from ncf_pipeline.serving import publication
from ncf_pipeline.storage.database import transaction

WHO = 14646
NAMES = [
    "WHITE HANGING HEART T-LIGHT HOLDER",
    "REGENCY CAKESTAND 3 TIER",
    "JUMBO BAG RED RETROSPOT",
    "PARTY BUNTING",
    "ASSORTED COLOUR BIRD ORNAMENT",
    "LUNCH BAG RED RETROSPOT",
    "SET OF 3 CAKE TINS PANTRY DESIGN",
    "PACK OF 72 RETROSPOT CAKE CASES",
    "RABBIT NIGHT LIGHT",
    "ROUND SNACK BOXES SET OF4 WOODLAND",
    "SPACEBOY LUNCH BOX",
    "<script>alert('a name')</script>",
]
CODES = [f"22{number:03d}" for number in range(len(NAMES))]
REASONS = [
    '["bought",3]',
    f'["goes_with","{CODES[2]}"]',
    f'["popular_with","{CODES[1]}"]',
    '["new"]',
    '["popular"]',
    '["taste"]',
    '["pinned"]',
    '["bought",1]',
    '["of a later version"]',
    '["new"]',
]


@pytest.fixture
def shop(settings):
    """The settings of a shop with customers, prices and one publication."""
    begin = datetime(2011, 6, 1)
    lines = [
        (f"{customer}{day:02d}", number, code, NAMES[number], 2 + number, begin + timedelta(days=day), 1.25 + number,
         customer, country, 1)
        for customer, country in ((WHO, "Netherlands"), (17850, "United Kingdom"), (12347, "EIRE"))
        for day in range(3)
        for number, code in enumerate(CODES)
    ]  # fmt: skip
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", lines)
        execute_values(
            cursor,
            "insert into retail.product values %s",
            [(code, name, begin) for code, name in zip(CODES, NAMES, strict=True)],
        )
    _publish(settings)
    return settings


def _publish(settings, more=()):
    ten = CODES[:10]
    reasons = f"[{','.join(REASONS)}]"
    rows = [("customer", str(WHO), name, ten, reasons) for name in ("for_you", "discover")]
    rows += [("customer", str(WHO), "buy_again", ten[:3], f"[{','.join(REASONS[:3])}]")]
    rows += [
        ("product", code, name, [other for other in ten if other != code][:6], None)
        for code in CODES
        for name in ("bought_together", "similar")
    ]
    rows += [
        ("fallback", country, name, codes, None)
        for country, codes in (("EIRE", CODES[::-1][:10]), ("*", ten))
        for name in ("for_you", "new_arrivals")
    ]
    rows += more
    publication.publish(
        settings,
        [pd.DataFrame(rows, columns=[*Lists.ALL, Lists.REASONS])],
        meta={"model_version": "v7", "cutoff": "2011-06-04T00:00:00", "top_n": 10},
    )


@pytest.fixture
def publish_category(shop):
    """Publishes the lists again, with the products of a category."""

    def make_live(category, codes):
        _publish(
            shop, [("category", category, name, kept, None) for name, kept in (("best_sellers", codes), ("others", []))]
        )

    return make_live


@pytest.fixture
def serve():
    """Serves the demo as `ncf-pipeline storefront` does; returns its address."""
    with ExitStack() as started:
        yield lambda settings: started.enter_context(serving(create_app(settings)))
