"""The extras: what brings a module, whether they are whole, and what to type where one is missing."""

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from ncf_pipeline import __version__, extras

ROOT = Path(extras.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = PROJECT["optional-dependencies"]
# Brought by httpx, by fastapi, by uvicorn, by jinja2, by pydantic-settings, and by MLflow's client.
BROUGHT_ALONG = {
    "anyio": "httpx",
    "starlette": "fastapi",
    "h11": "uvicorn",
    "markupsafe": "jinja2",
    "pydantic": "pydantic-settings",
    "mlflow": "mlflow-skinny",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(extra: str) -> set[str]:
    """Returns the packages that an extra names, itself or through another extra."""
    packages = set()
    for requirement in DECLARED[extra]:
        own = re.fullmatch(r"ncf-pipeline\[(.+)\]", requirement)
        packages |= brought_by(own[1]) if own else {normal(re.match(r"[\w.-]+", requirement)[0])}
    return packages


def imported() -> set[str]:
    names = set()
    for path in [*(ROOT / "ncf_pipeline").rglob("*.py"), *(ROOT / "dags").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"ncf_pipeline"}


def test_each_import_is_brought_by_the_base_or_by_an_extra():
    # statically known ones; `airflow.providers.openlineage` is looked for, not needed
    assert imported() - set(extras.EXTRA_OF) == {"redis"}


@pytest.mark.parametrize(("module", "extra"), sorted(extras.EXTRA_OF.items()))
def test_the_extra_that_a_message_names_brings_the_module(module, extra):
    # What is not installed here is looked up by the module's own name.
    distributions = {normal(name) for name in metadata.packages_distributions().get(module, [module])}
    distributions.add(BROUGHT_ALONG.get(module, ""))
    assert distributions & brought_by(extra)


def test_the_base_install_brings_redis_alone():
    assert [re.match(r"[\w-]+", each)[0] for each in PROJECT["dependencies"]] == ["redis"]


@pytest.mark.parametrize("extra", sorted({"airflow", "celery", "local", "s3", "peers", "storefront"}))
def test_one_extra_is_enough(extra):
    assert brought_by("pipeline") | brought_by("cli") <= brought_by(extra)


def test_a_checkout_is_installed_from_where_it_lies():
    assert extras.how_to_install("local") == f"`pip install --editable '{ROOT}[local]'`"


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": "file://{wheel}", "archive_info": {}}, "{wheel}[local,s3]"),
        ({"url": "file:///gone/ncf_pipeline-1-py3-none-any.whl"}, "ncf_pipeline-1-py3-none-any.whl[local,s3]"),
        (
            {"url": "https://git.example/it.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}},
            "ncf-pipeline[local,s3] @ git+https://git.example/it.git@abc123",
        ),
        ({"url": "https://files.example/it.whl"}, "ncf-pipeline[local,s3] @ https://files.example/it.whl"),
        (
            {"url": "https://me:hush@files.example/it.whl"},
            "ncf-pipeline[local,s3] @ https://me:***@files.example/it.whl",
        ),
        (None, f"ncf-pipeline[local,s3]=={__version__}"),
    ],
    ids=["wheel", "wheel that is gone", "git", "web", "web with a password", "index"],
)
def test_an_installed_package_is_installed_from_where_it_came(tmp_path, monkeypatch, origin, requirement):
    wheel = tmp_path / "a shop" / "ncf_pipeline-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    info = tmp_path / "site" / "ncf_pipeline-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ncf-pipeline\nVersion: 1\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin).replace("{wheel}", str(wheel).replace(" ", "%20")))
    monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])
    monkeypatch.setattr(extras, "_HERE", info.parent)
    expected = requirement.replace("{wheel}", str(wheel))
    assert extras.how_to_install("local", "s3") == f"`pip install '{expected}'`"


def test_a_module_of_no_extra_is_said_to_be_missing_too():
    assert extras.missing("dateutil.parser").startswith("dateutil is not installed. Install ncf-pipeline anew")
