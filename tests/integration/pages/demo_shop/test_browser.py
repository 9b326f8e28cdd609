"""The demo shop in a real browser: by keyboard alone, on a phone, and with its servers away."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ncf_pipeline.storage.database import transaction

WHO = 14646
PAGES = [
    "/",
    f"/customers/{WHO}",
    "/customers/12347",
    "/customers/999",
    "/products/22000",
    "/visitors?country=EIRE",
    "/basket?code=22000",
]

pytestmark = pytest.mark.timeout(180)


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_a_customer_a_product_and_a_visitor_by_keyboard_alone(shop, serve, page, tab_to):
    page.goto(serve(shop))
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.innerText") == "Skip to content"
    tab_to("Customer id")
    page.keyboard.type(str(WHO))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/customers/{WHO}")
    assert texts(page, "h2") == ["For you", "Discover", "Buy again", "What they bought"]
    assert "Netherlands · 3 orders, the last on 3 June 2011" in page.inner_text("main")
    assert texts(page, "section:nth-of-type(1) .card .reason") == [
        "You bought this 3 times",
        "Goes with Jumbo bag red retrospot",
        "Popular with buyers of Regency cakestand 3 tier",
        "New in the shop",
        "Popular now",
        "Fits what you buy",
        "Chosen by the shop",
        "You bought this before",
        "New in the shop",  # the ninth has a code of a later version, which this one does not show
    ]
    assert texts(page, "section:nth-of-type(1) .card .price")[:2] == ["£1.25", "£2.25"]
    assert len(texts(page, ".history li")) == 12

    tab_to("White hanging heart")
    page.keyboard.press("Enter")
    page.wait_for_url("**/products/22000")
    assert texts(page, "h2") == ["Bought together", "Similar"]
    assert len(texts(page, ".card")) == 12

    tab_to("Visitor")
    page.keyboard.press("Enter")
    page.wait_for_url("**/visitors")
    tab_to("Country")
    page.keyboard.type("EIRE")
    tab_to("Show")
    page.keyboard.press("Enter")
    page.wait_for_url("**/visitors?country=EIRE")
    assert page.inner_text("h1") == "Visitor from EIRE"
    # A name is shown as text, even if it contains markup.
    assert texts(page, ".card a")[0] == "<script>alert('a name')</script>"
    assert "of this country" in page.inner_text("main")


def test_a_basket_grows_and_shrinks_by_keyboard_alone(shop, serve, page, tab_to):
    page.goto(f"{serve(shop)}/products/22000")
    tab_to("Put into a basket")
    page.keyboard.press("Enter")
    page.wait_for_url("**/basket?code=22000")
    assert texts(page, "h2") == ["Goes with your basket"]
    assert texts(page, ".history li > a") == ["White hanging heart t-light holder"]
    assert texts(page, ".history .price") == ["£1.25"]
    listed = texts(page, ".card > a")
    assert "White hanging heart t-light holder" not in listed

    tab_to("Put in")
    page.keyboard.press("Enter")
    page.wait_for_url("**/basket?code=22000&code=*")
    assert len(texts(page, ".history li")) == 2
    tab_to("Stock code")
    page.keyboard.type("22009")
    tab_to("Customer id")
    page.keyboard.type(str(WHO))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**&code=22009&customer={WHO}")
    assert len(texts(page, ".history li")) == 3
    # A script as a name stays text, and the basket knows whose it is after each step.
    for left in (2, 1, 0):
        tab_to("Take out")
        page.keyboard.press("Enter")
        page.wait_for_function(f"() => document.querySelectorAll('.history li').length === {left}")
    assert page.url.endswith(f"/basket?customer={WHO}")
    assert texts(page, ".empty") == ["The basket is empty."]
    assert texts(page, "h2") == ["To begin with"]


def test_a_mouse_puts_a_product_into_the_basket_and_opens_another(shop, serve, page):
    page.goto(f"{serve(shop)}/basket?code=22000")
    page.locator(".card .put").first.click()
    page.wait_for_url("**/basket?code=22000&code=*")
    page.locator(".card > a:not(.put)").first.click()
    page.wait_for_url("**/products/22*")


def test_not_for_me_takes_a_product_away_until_it_is_undone(shop, serve, page, tab_to):
    page.goto(f"{serve(shop)}/customers/{WHO}")
    before = texts(page, "section:nth-of-type(1) .card > a")
    tab_to("Not for me")  # of the first product
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/customers/{WHO}?dismissed=22000")
    assert "White hanging heart t-light holder is not shown to this customer any more." in page.inner_text(
        "[role=status]"
    )
    for number in (1, 2, 3):
        assert "White hanging heart" not in page.inner_text(f"section.shelf:nth-of-type({number})")
    page.goto(page.url.replace(f"customers/{WHO}?dismissed=22000", f"basket?customer={WHO}"))
    assert "White hanging heart" not in page.inner_text("main")
    page.go_back()
    tab_to("Undo")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/customers/{WHO}")
    assert texts(page, "section:nth-of-type(1) .card > a") == before
    assert page.locator("[role=status]").count() == 0


def test_not_for_me_is_not_stored_without_redis_and_the_page_says_so(shop, serve, page, monkeypatch):
    address = serve(shop)

    async def away(*_):
        return False

    monkeypatch.setattr("ncf_pipeline.storefront.AsyncStorefront.dismiss", away)
    form = {"customer": str(WHO), "stock_code": "22000"}
    answer = page.request.post(f"{address}/dismiss", form=form, headers={"Origin": address, "Accept": "text/html"})
    assert answer.status == 503
    assert "It was not stored, because Redis does not answer. Try again in a minute." in answer.text()


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_never_scrolls_sideways(shop, serve, page, width):
    address = serve(shop)
    page.set_viewport_size({"width": width, "height": 844})
    for path in PAGES:
        page.goto(address + path)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_pages_have_what_a_screen_reader_needs(shop, serve, page, faint, scheme):
    address = serve(shop)
    page.emulate_media(color_scheme=scheme)
    for path in PAGES:
        page.goto(address + path)
        assert len(texts(page, "h1")) == 1, path
        assert page.locator("input:not([aria-label]), select").count() == page.locator("label").count(), path
        assert faint() == [], path


def test_without_redis_the_page_shows_everything_but_lists(shop, serve, page):
    address = serve(shop.model_copy(update={"redis_url": type(shop.redis_url)("redis://127.0.0.1:1/0")}))
    page.goto(f"{address}/customers/{WHO}")
    assert page.inner_text("h1") == f"Customer {WHO}"
    assert len(texts(page, ".empty")) == 3
    assert "Recommendations are away for a moment" in page.inner_text("main")
    assert len(texts(page, ".history li")) == 12
    assert "The live publication cannot be read" in page.inner_text("footer")


def test_without_postgres_lists_are_shown_by_their_codes(shop, serve, page):
    address = serve(shop.model_copy(update={"database_url": type(shop.database_url)("postgresql://127.0.0.1:1/none")}))
    page.goto(f"{address}/customers/{WHO}")
    assert texts(page, "section:nth-of-type(1) .card a")[0] == "22000"
    page.goto(address)
    assert "The customers cannot be read" in page.inner_text("main")


def test_an_unknown_customer_sees_the_fallback_and_an_unknown_product_is_not_found(shop, serve, page):
    address = serve(shop)
    page.goto(f"{address}/customers/999")
    assert "best sellers everywhere" in page.inner_text("main")
    assert page.request.get(f"{address}/products/NONE").status == 404
    assert page.request.get(f"{address}/customers/{WHO}").headers["content-security-policy"].startswith("default-src")


@pytest.fixture
def catalogue(shop):
    """Gives the shop a catalogue, whose pictures are on a server of this machine; returns the addresses asked for."""
    asked = []

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Referer")))
            self.send_response(200)
            self.send_header("Content-Type", "image/svg+xml")
            self.end_headers()
            self.wfile.write(
                b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"><rect width="4" height="3"/></svg>'
            )

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.catalogue_load (source, sha256, is_whole, facts, loaded_by, rows_read, rows_new, "
            "rows_changed, rows_unchanged, rows_repeated, rows_refused, products_missing) "
            "values ('c.csv', '', true, '{}', 'ann', 0, 0, 0, 0, 0, 0, 0) returning load_id"
        )
        (load,) = cursor.fetchone()
        for code, category, image in (
            ("22000", "Lights > Hanging", f"{site}/light.svg?a=1&b=2"),
            ("22001", "Kitchen", "https://shop.example;script-src/x.png"),
            ("22002", 'أكواب "&<b', None),
        ):
            cursor.execute(
                "insert into retail.catalogue (stock_code, category, image_url, load_id) values (%s, %s, %s, %s)",
                (code, category, image, load),
            )
    yield asked
    server.shutdown()
    server.server_close()


def test_a_category_and_pictures_on_a_phone(shop, catalogue, serve, page, publish_category):
    publish_category("Lights", ["22000", "22011"])
    address = serve(shop)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/customers/{WHO}")
    assert page.locator("#category option").all_inner_texts() == [
        "All", "Kitchen", "Lights", "Lights > Hanging", 'أكواب "&<b'
    ]  # fmt: skip
    page.wait_for_function("() => [...document.images].some(image => image.naturalWidth > 0)")
    assert {path for path, _ in catalogue} == {"/light.svg?a=1&b=2"}
    assert {referer for _, referer in catalogue} == {None}
    assert page.locator(".card img").count() == 1  # of 22000; the other address is shown as letters
    assert page.locator(".history img").count() == 1
    page.select_option("#category", "Lights")
    page.locator("main form.where button").click()
    page.wait_for_url("**/customers/14646?category=Lights")
    assert texts(page, "section:nth-of-type(1) .card a")[0].startswith("White hanging heart")
    assert len(texts(page, "section:nth-of-type(1) .card")) == 2
    assert page.locator("#category").input_value() == "Lights"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.goto(f"{address}/visitors?category=Kitchen&country=EIRE")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.goto(f"{address}/products/22000")
    allowed = page.request.get(f"{address}/products/22000").headers["content-security-policy"]
    assert "shop.example" not in allowed
    assert "img-src http://127.0.0.1:" in allowed


def test_a_shop_without_a_catalogue_has_no_choice_and_no_picture(shop, serve, page):
    page.goto(f"{serve(shop)}/customers/{WHO}")
    assert page.locator("#category, img").count() == 0
    assert "img-src" not in page.request.get(page.url).headers["content-security-policy"]
