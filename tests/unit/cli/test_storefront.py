"""The names under which the demo shop may be opened."""

import pytest
import typer

from ncf_pipeline.cli.storefront import host_names


@pytest.mark.parametrize("name", ["shop", "shop.example", "*.shop.example", "192.168.1.5", "[fe80::1]"])
def test_a_name_or_an_address_is_taken(name):
    assert host_names([name]) == [name]


@pytest.mark.parametrize(
    "name", ["*", "", "sh*p", "http://shop.example", "shop.example:8090", "shop/", "a b", ".lan", "bücher.example"]
)
def test_what_is_no_name_of_a_host_is_refused(name):
    with pytest.raises(typer.BadParameter, match=r"is no host name\. Give a name or an address"):
        host_names(["shop.example", name])


def test_none_is_needed():
    assert host_names(None) == []
