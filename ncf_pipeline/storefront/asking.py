"""What a page asks for: the lists, whose they are, and which part of them it shows."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ncf_pipeline.columns import BOUGHT_TOGETHER, FOR_YOU, LISTS_OF, NEW_ARRIVALS, Audience, category_levels
from ncf_pipeline.storefront.answers import Source, is_text

MOST_IN_BASKET = 50
"""Products of a basket whose lists are read: the last ones that were put in."""

LONGEST_CODE = 100


@dataclass(frozen=True, slots=True)
class View:
    """The part of a list that a page shows."""

    count: int | None = None  # None: as many as the publication says
    page: int = 1
    exclude: frozenset[str] = frozenset()
    rotate: str | None = None
    category: str | None = None  # its products only


class Question(NamedTuple):
    """The lists of one key, and their fallback."""

    names: tuple[str, ...]  # of the lists
    source: Source = "none"  # of an own list
    key: str | None = None  # of the own lists; None for a visitor, and for what cannot be an id
    fallback: str | None = None  # name of the list, of a country or of everywhere, that replaces a missing one


class Ask(NamedTuple):
    """Everything that one call of the client reads, in one round trip."""

    questions: tuple[Question, ...]
    view: View = View()
    country: str | None = None
    customer: str | None = None  # the key's end, if what the customer dismissed is left out
    shelves: tuple[tuple[int, int], ...] = ()  # of a page: for each, its question and the place of its list's name
    basket: tuple[str, ...] | None = None  # the stock codes in it, the last put in first

    @property
    def answers(self) -> int:
        """How many lists are returned."""
        if self.basket is not None:
            return 1
        return len(self.shelves) or len(self.questions[0].names)


_WHOLE_VIEW = View()


def view(count: int | None, page: int, exclude: Iterable[str], rotate: str | None, category: str | None = None) -> View:
    """The part of a list to show.

    Args:
        count: products to show; None: as many as the publication says.
        page: from 1.
        exclude: stock codes that are on the page already.
        rotate: the seed of a rotation; None: no rotation.
        category: whose products are shown; None: any.

    Raises:
        ValueError: a number below 1, or one text in place of several stock codes.
    """
    if count is None and page == 1 and not exclude and rotate is None and category is None:
        return _WHOLE_VIEW
    if (count is not None and count < 1) or page < 1:
        raise ValueError(f"count and page begin at 1, not at {page if page < 1 else count}")
    if isinstance(exclude, str | bytes):
        raise ValueError(f"exclude is several stock codes, such as [{exclude!r}]")  # noqa: TRY004 - as any other
    return View(count, page, frozenset(exclude), rotate, None if category is None else category_of(category))


def of_customer(customer_id: int | str, list_name: str, country: str | None, shown: View) -> Ask:
    """One list of a customer, else best sellers.

    Raises:
        ValueError: customers have no list of that name.
    """
    _check("customer", list_name)
    key = key_of("customer", customer_id)
    return Ask((Question((list_name,), "customer", key, FOR_YOU),), shown, country_of(country), key)


def all_of_customer(customer_id: int | str, country: str | None, shown: View) -> Ask:
    """All lists of a customer; best sellers in place of each that is missing."""
    key = key_of("customer", customer_id)
    return Ask((Question(LISTS_OF["customer"], "customer", key, FOR_YOU),), shown, country_of(country), key)


def of_visitor(list_name: str, country: str | None, shown: View) -> Ask:
    """A list for an unknown visitor.

    Raises:
        ValueError: visitors have no list of that name.
    """
    _check("fallback", list_name)
    return Ask((Question((list_name,), fallback=list_name),), shown, country_of(country))


def of_product(stock_code: str, list_name: str, country: str | None, customer_id: int | str | None, shown: View) -> Ask:
    """A list of a product, without a fallback.

    Raises:
        ValueError: products have no list of that name.
    """
    _check("product", list_name)
    customer = key_of("customer", customer_id) if customer_id is not None else None
    question = Question((list_name,), "product", key_of("product", stock_code))
    return Ask((question,), shown, country_of(country), customer)


def of_page(
    shelves: Iterable[str],
    customer_id: int | str | None,
    stock_code: str | None,
    country: str | None,
    shown: View,
) -> tuple[tuple[str, ...], Ask]:
    """The shelves of a page, from the top; the names as the page wrote them, and what to read.

    Raises:
        ValueError: there is no list of a name, a name occurs twice, or a product's list is asked for without a product.
    """
    names = (shelves,) if isinstance(shelves, str) else tuple(shelves)
    of_customers, of_products = LISTS_OF["customer"], LISTS_OF["product"]
    for name in names:
        if name not in (*of_customers, *of_products, NEW_ARRIVALS):
            known = ", ".join((*of_customers, *of_products, NEW_ARRIVALS))
            raise ValueError(f"there is no list {name!r}; choose from {known}")
        if name in of_products and stock_code is None:
            raise ValueError(f"{name!r} is the list of a product: name one with product=")
    if not names or len(set(names)) < len(names):
        raise ValueError("a page has one shelf or more, and each list once")
    key = key_of("customer", customer_id) if customer_id is not None else None
    questions: list[Question] = []
    place: dict[str, tuple[int, int]] = {}
    mine = tuple(name for name in names if name in of_customers)
    if mine and customer_id is not None:
        questions.append(Question(mine, "customer", key, FOR_YOU))
    elif mine:  # best sellers stand for each list of an unknown visitor
        questions.append(Question(mine, fallback=FOR_YOU))
    place.update({name: (0, number) for number, name in enumerate(mine)})
    theirs = tuple(name for name in names if name in of_products)
    if theirs:
        place.update({name: (len(questions), number) for number, name in enumerate(theirs)})
        questions.append(Question(theirs, "product", key_of("product", stock_code)))
    if NEW_ARRIVALS in names:
        place[NEW_ARRIVALS] = (len(questions), 0)
        questions.append(Question((NEW_ARRIVALS,), fallback=NEW_ARRIVALS))
    return names, Ask(tuple(questions), shown, country_of(country), key, tuple(place[name] for name in names))


def of_basket(stock_codes: Iterable[str], customer_id: int | str | None, country: str | None, shown: View) -> Ask:
    """What goes with a basket.

    Raises:
        ValueError: one text in place of several stock codes.
    """
    if isinstance(stock_codes, str | bytes):
        raise ValueError(f"a basket is several stock codes, such as [{stock_codes!r}]")  # noqa: TRY004 - as any other
    codes = [code for each in stock_codes if (code := code_of(each)) is not None]
    basket = tuple(dict.fromkeys(reversed(codes)))
    key = key_of("customer", customer_id) if customer_id is not None else None
    questions = [Question((BOUGHT_TOGETHER,), "product", f"product:{code}") for code in basket[:MOST_IN_BASKET]]
    # Last: its fallback is that of the basket, too.
    questions.append(Question((FOR_YOU,), "customer" if customer_id is not None else "none", key, FOR_YOU))
    shown = replace(shown, exclude=shown.exclude | frozenset(basket))
    return Ask(tuple(questions), shown, country_of(country), key, basket=basket)


def code_of(named: object) -> str | None:
    """A stock code in the spelling of the lists; None for what can be none.

    >>> code_of(" 85123a"), code_of(22423), code_of(None), code_of("")
    ('85123A', '22423', None, None)
    """
    if named is None or isinstance(named, float | bool | bytes):
        return None
    code = str(named).strip().upper()
    return code if 0 < len(code) <= LONGEST_CODE and (code.isascii() or is_text(code)) else None


def key_of(audience: Audience, named: object) -> str | None:
    """A key without its start; None if no id can be what the page passed.

    >>> key_of("customer", 14646), key_of("customer", 14646.0), key_of("customer", float("nan"))
    ('customer:14646', 'customer:14646', None)
    """
    if type(named) is not str and type(named) is not int:
        named = _id_of(named)
    key = f"{audience}:{named}"
    return key if named is not None and (key.isascii() or is_text(key)) else None


def _id_of(named: object) -> str | None:
    """An id of another type: of a table, whose numbers may have become floats, or a UUID.

    Args:
        named: what the page passed.

    Returns:
        None for what is no id: None, NaN, a number with a fraction, bytes, a list.
    """
    if named is None or isinstance(named, bool | bytes | bytearray | list | tuple | dict | set):
        return None
    try:
        number = int(named) if hasattr(named, "__float__") else None  # type: ignore[call-overload]
        return str(named if number is None else number) if number is None or number == named else None
    except Exception:  # NaN, infinity, and whatever an object raises that is asked for its text
        return None


def country_of(named: object) -> str | None:
    """A country whose name may be asked for; None for anything else, such as the NaN of a table."""
    return named if isinstance(named, str) and (named.isascii() or is_text(named)) else None


def category_of(named: object) -> str:
    """A category in the spelling of the lists; one that no product is of for what can be none.

    >>> category_of("Kitchen>Cups"), category_of(" Kitchen  > Cups"), category_of(None)
    ('Kitchen > Cups', 'Kitchen > Cups', '')
    """
    levels = category_levels(named) if isinstance(named, str) and is_text(named) else ()
    return levels[-1] if levels else ""


def _check(audience: Audience, list_name: str) -> None:
    if list_name not in LISTS_OF[audience]:
        raise ValueError(f"there is no {audience} list {list_name!r}; choose one of {', '.join(LISTS_OF[audience])}")
