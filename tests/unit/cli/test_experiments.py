"""What the commands `experiment` refuse before anything starts."""

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["start", "one", "--hypothesis", " "], "--hypothesis is empty"),
        (["stop", "--reason", ""], "--reason is empty"),
        (["start", "one", "--hypothesis", "More", "--weeks", "5000000"], "520"),
        (["start", "one", "--hypothesis", "More", "--decides", "once"], "set --weeks"),
        (["plan", "--metric", "repeat_rate", "--metric", "repeat_rate"], "twice"),
    ],
)
def test_a_mistake_in_an_option_is_told_before_anything_starts(options, told, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["experiment", *options])
    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "home").exists()
