"""The Recommender page in a real browser: in Airflow's frame, by keyboard alone, with labels that can be read."""

import pytest
from fastapi.responses import HTMLResponse

WHO = 14646

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]


@pytest.fixture
def opened(shop, quarantined, serve, page):
    """The page's address, and the page at it."""
    address = serve(shop)
    page.goto(address)
    return address


def test_by_keyboard_alone_from_the_top_to_a_customers_lists(opened, page, tab_to):
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.innerText") == "Skip to content"
    tab_to("Lines wait in quarantine")
    tab_to("The numbers")
    page.keyboard.press("Enter")
    assert "0.3360 [0.3210, 0.3510]" in page.inner_text("#retrains ~ details")
    tab_to("Customer id", most=120)
    page.keyboard.type(str(WHO))
    page.keyboard.press("Enter")
    page.wait_for_url("**/recommender/customer")
    assert [text.strip() for text in page.locator(".shelf h2").all_inner_texts()] == [
        "For you",
        "Discover",
        "Buy again",
    ]
    assert page.locator(".reason").first.inner_text() == "You bought this 3 times"
    tab_to("Back to the overview")
    page.keyboard.press("Enter")
    page.wait_for_url("**/recommender/")


def test_labels_do_not_overlap_at_any_width(opened, page):
    for width in (320, 390, *range(480, 1500, 60)):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(OVERLAPPING) == [], width


def test_in_airflows_frame_it_follows_airflows_light_and_dark(shop, site, serve, browser):
    app, page = site(shop), browser.new_page(color_scheme="light")

    @app.get("/")
    def outside():
        sandbox = "allow-scripts allow-same-origin allow-forms allow-downloads"  # as Airflow has it
        return HTMLResponse(f'<html class="dark"><iframe sandbox="{sandbox}" src="/recommender/" width=900 height=700>')

    page.goto(serve(app).removesuffix("recommender/"))
    frame = page.frames[1]
    frame.wait_for_selector("h1")
    assert frame.evaluate(PAPER) == "rgb(24, 24, 27)"
    page.evaluate("() => { document.documentElement.className = 'light' }")
    page.wait_for_timeout(50)
    assert frame.evaluate(PAPER) == "rgb(248, 248, 248)"
    frame.fill("#number", str(WHO))
    frame.press("#number", "Enter")
    frame.wait_for_selector("text=Back to the overview")
    assert "You bought this 3 times" in frame.inner_text("main")
    page.close()


PAPER = "() => getComputedStyle(document.body).backgroundColor"

OVERLAPPING = """() => [...document.querySelectorAll('.field')].flatMap(chart => {
  const boxes = [...chart.querySelectorAll('text')].filter(e => e.checkVisibility())
    .map(e => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, one], place) => boxes.slice(place + 1)
    .filter(([, other]) => one.left < other.right && other.left < one.right && one.top < other.bottom - 4
      && other.top < one.bottom - 4)
    .map(([b]) => [a, b]));
})"""
