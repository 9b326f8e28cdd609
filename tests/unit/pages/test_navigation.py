"""The one navigation of all pages."""

import re

import pytest

from ncf_pipeline.pages.navigation import ENTRIES, navigation, with_bar


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("", "Overview"),
        ("models/v7", "Versions"),
        ("quarantine-line", "Quarantine"),
        ("experiment-spring", "Experiments"),
        ("data-docs/invoices/batch-000001.html", "Overview"),
        ("products", "Products"),
        ("customer", "Customers"),
        ("runbook", "Runbook"),
    ],
)
def test_the_entry_of_the_page_is_marked_and_no_other(path, title):
    links = re.findall(r'<a href="[^"]*"( aria-current="page")?>([^<]*)</a>', navigation(path, "../"))
    assert [name for _, name in links] == [entry.title for entry in ENTRIES]
    assert [name for marked, name in links if marked] == [title]


def test_a_page_that_does_not_exist_marks_no_entry():
    assert "aria-current" not in navigation("none/of/these", "/recommender/")


def test_addresses_begin_at_the_root_that_the_page_names():
    assert re.findall(r'href="([^"]*)"', navigation("", ""))[0] == "./"
    assert re.findall(r'href="([^"]*)"', navigation("models/v7", "../"))[0] == "../"
    assert all(link.startswith("/a/b/") for link in re.findall(r'href="([^"]*)"', navigation("", "/a/b/")))


def test_a_stored_page_gets_a_way_back_and_a_way_around_it():
    page = with_bar("<html><body>\n<main id='main'><body></main>", "data-docs/", "../../")
    assert page.count('<a class="brand" href="../../">') == 1
    assert page.index("Skip to content") < page.index('<nav aria-label="Recommender">') < page.index("<main")
