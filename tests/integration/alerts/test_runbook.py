"""docs/runbook.md: each kind of alert has a section, each section a kind, and each command runs."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner
from weekly_versions import TODAY

from ncf_pipeline.alerts import KINDS
from ncf_pipeline.cli import app
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.serving import publish

TEXT = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
COMMANDS = list(
    dict.fromkeys(line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines())
)
BROKEN = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
999998,22001,A GOOD THING,0,2011-12-08 08:26:00,3.39,14601,France
999999,22002,A GOOD THING,0,2011-12-08 08:27:00,3.39,14601,France
"""


def test_each_kind_has_a_section_and_each_section_a_kind():
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == [kind.title for kind in _in_order()]


def _in_order():
    titles = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    return sorted(KINDS.values(), key=lambda kind: titles.index(kind.title))


def test_each_section_says_what_it_means_where_to_look_and_how_to_mend_it():
    for section in TEXT.split("\n## ")[1:]:
        assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE) == ["Means", "Look", "Mend"], section
        assert "```sh\n" in section


def test_every_setting_on_the_page_exists(settings):
    for name in set(re.findall(r"NCF_([A-Z_]+)", TEXT)):
        assert name.lower() in type(settings).model_fields


def test_the_command_of_each_alert_is_in_its_section():
    sections = {section.partition("\n")[0]: section for section in TEXT.split("\n## ")[1:]}
    for kind in KINDS.values():
        assert kind.look in COMMANDS
        assert kind.look.split()[1] in sections[kind.title], kind.name


@pytest.mark.timeout(300)
def test_each_command_runs(shop, candidate, serve, webhook, monkeypatch, tmp_path):
    for key in ("one", "two"):
        serve(candidate(key))
    publish.refresh(shop)
    (tmp_path / "broken.csv").write_text(BROKEN)
    ingest.ingest(shop, [str(tmp_path / "broken.csv")])
    experiments.start(shop, Design("spring", "They sell more.", "holdout", 0.05, "salt", TODAY), by="test")
    monkeypatch.setenv("NCF_HOME", str(shop.home))
    monkeypatch.setenv("NCF_DATABASE_URL", shop.database())
    monkeypatch.setenv("NCF_REDIS_URL", shop.list_store())
    monkeypatch.setenv("NCF_ARTIFACTS_URL", shop.artifacts)
    monkeypatch.setenv("NCF_KEY_PREFIX", shop.key_prefix)
    monkeypatch.setenv("NCF_ALERTS", webhook.url)
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "ncf-pipeline"
        ran = CliRunner().invoke(app, arguments)
        assert (ran.exit_code, ran.exception) == (0, None), f"{command}: {ran.output} {ran.exception}"
    assert {message["title"] for message in webhook.got} == {"[test] This is only a test."}
