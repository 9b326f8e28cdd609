"""The shop with tastes and its trained model: see `tests/support/shop_with_tastes.py`."""

from shop_with_tastes import model, recipe, recommender, shop  # noqa: F401
