"""The mappings that come with the package: exports of common shops, in their documented columns."""

from functools import cache
from importlib.resources import files

from ncf_pipeline.ingest.mappings.mapping import Mapping, from_yaml


@cache
def ready() -> dict[str, Mapping]:
    """Every ready mapping by its name."""
    texts = [
        each.read_text("utf-8")
        for each in files(__package__).joinpath("ready").iterdir()
        if each.name.endswith(".yaml")
    ]
    found = [from_yaml(text) for text in sorted(texts)]
    return {mapping.name: mapping for mapping in sorted(found, key=lambda mapping: mapping.name)}
