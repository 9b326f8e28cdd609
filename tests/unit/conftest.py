"""The shop with tastes and its trained model: see `tests/support/shop_with_tastes.py`. Trained once for all tests."""

from shop_with_tastes import model, recipe, recommender, shop  # noqa: F401
