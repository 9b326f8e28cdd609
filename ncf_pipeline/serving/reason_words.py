"""Why a product is on a list, as a person reads it."""

from collections.abc import Callable

from ncf_pipeline.storefront import Reason


def in_words(reason: Reason, name_of: Callable[[str], str]) -> str | None:
    """Returns a reason as a shopper reads it; None if this version does not know its code.

    Args:
        reason: as the storefront's client returned it.
        name_of: returns the name of a product by its stock code.

    >>> in_words(Reason("bought", 3), str)
    'You bought this 3 times'
    """
    of_product = isinstance(reason.evidence, str) and reason.code in ("goes_with", "popular_with", "alike")
    other = name_of(str(reason.evidence)) if of_product else ""
    match reason.code:
        case "bought":
            times = int(reason.evidence or 1)
            return "You bought this before" if times == 1 else f"You bought this {times} times"
        case "carted":
            return "You put this into your basket"
        case "wished":
            return "On your wish list"
        case "viewed":
            return "You looked at this"
        case "goes_with":
            return f"Goes with {other}"
        case "popular_with":
            return f"Popular with buyers of {other}"
        case "new":
            return "New in the shop"
        case "popular":
            return "Popular now"
        case "pinned":
            return "Chosen by the shop"
        case "taste":
            return "Fits what you buy"
        case "best_seller":
            return "A best seller"
        case "same_category":
            return f"Also in {reason.evidence}"
        case "same_brand":
            return f"Also from {reason.evidence}"
        case "alike":
            return f"New, and like {other}" if of_product else "Similar by its description"
    return None


def readable(description: str) -> str:
    """Returns a description as a person writes it: `RED MUG` on an invoice becomes `Red mug`."""
    text = " ".join(description.split())
    return text.capitalize() if text.isupper() else text
