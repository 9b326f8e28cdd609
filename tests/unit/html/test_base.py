"""What every page has from the base."""

import re

import jinja2
import pytest

from ncf_pipeline import html


@pytest.fixture
def folder(tmp_path):
    """A folder with one template, which shows `name`."""
    blocks = "{% block title %}A page{% endblock %}{% block main %}<h1>{{ name }}</h1>{% endblock %}"
    (tmp_path / "page.html").write_text('{% extends "base.html" %}' + blocks)
    return tmp_path


def test_a_page_is_one_file_with_its_style_inside_and_loads_nothing(folder):
    page = html.render_file(folder, "page.html", name="A name")
    assert "<h1>A name</h1>" in page
    assert "--paper: light-dark(" in page
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(|\ssrc=", page)


def test_a_value_is_text_whatever_the_template_is_called(folder):
    (folder / "page.html").rename(folder / "page.txt")
    page = html.render_file(folder, "page.txt", name="<script>alert('a name')</script>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;a name&#39;)&lt;/script&gt;" in page


def test_a_value_that_the_caller_forgot_is_an_error(folder):
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        html.render_file(folder, "page.html")
