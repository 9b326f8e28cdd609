"""What the documents name is there: files, folders, links, make targets and commands."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from ncf_pipeline.cli import app

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
OURS = ("ncf_pipeline/", "dags/", "expectations/", "sql/", "docker/", "tests/", "benchmarks/", "docs/", ".github/")
MADE_LATER = {"docker/secrets/", "docker/wheelhouse/"}


def braces(path):
    """`a/{b,c}.py` as `a/b.py` and `a/c.py`."""
    if found := re.fullmatch(r"(.*)\{(.*)\}(.*)", path):
        before, among, after = found.groups()
        return [f"{before}{one}{after}" for one in among.split(",")]
    return [path]


def ids(path):
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_file_that_is_named_exists(document):
    named = re.findall(r"`([\w./{},*-]+?)(?:::\w+)?`", document.read_text())
    named += [word for word in re.findall(r"[\w./-]+", document.read_text()) if word.startswith("tests/")]
    paths = [one for name in named if name.startswith(OURS) and "NNNN" not in name for one in braces(name)]
    missing = [path for path in paths if path not in MADE_LATER and not list(PROJECT.glob(path.rstrip("/.")))]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_link_within_the_project_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_make_target_that_is_named_exists(document):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\s)make ([a-z][a-z-]+)", "\n".join(code_of(document.read_text()))))
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_command_that_is_named_exists(document):
    named = set(re.findall(r"ncf-pipeline ([a-z]+(?:-[a-z]+)*)", "\n".join(code_of(document.read_text()))))
    assert named <= set(get_command(app).commands)


def test_every_command_is_in_the_readme():
    text = (PROJECT / "README.md").read_text()
    commands = set(get_command(app).commands)
    assert {name for name in commands if not re.search(rf"ncf-pipeline [^|\n]*\b{name}\b|`{name}`", text)} == set()


def code_of(text):
    """Inline code and code blocks of Markdown."""
    return re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)


def test_the_hooks_before_a_commit_call_tools_that_are_installed():
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())
    dependencies = (PROJECT / "pyproject.toml").read_text()
    for hook in config["repos"][0]["hooks"]:
        if hook["language"] == "system":
            tool = hook["entry"].split()[0]
            assert tool.startswith(".venv/bin/")
            package = tool.removeprefix(".venv/bin/").replace("lint-imports", "import-linter")
            assert f'"{package}>=' in dependencies


@pytest.mark.parametrize(
    "form", sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_the_forms_for_reports_are_forms(form):
    content = yaml.safe_load(form.read_text())
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= content.keys()
    assert all(part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes") for part in content["body"])
    fields = [part["id"] for part in content["body"] if part["type"] != "markdown"]
    assert len(fields) == len(set(fields))


def test_every_document_is_in_the_index():
    links = {
        (PROJECT / "docs" / link).resolve()
        for link in re.findall(r"\]\(([^)#]+)", (PROJECT / "docs/index.md").read_text())
    }
    documents = {path for path in (PROJECT / "docs").rglob("*.md") if path.name != "index.md"}
    assert documents <= links
