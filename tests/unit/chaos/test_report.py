"""The table of `make chaos` in docs/reliability.md."""

from dataclasses import replace

from chaos.judge import Check
from chaos.report import Landed, Run, with_run
from chaos.schedule import INGEST, KILL, REDIS, REFRESH

DOCUMENT = "# Reliability\n\n<!-- written by make chaos -->\n\n<!-- end -->\n\nThe end.\n"
RUN = Run(
    seed=1,
    day="2026-01-01",
    minutes=16,
    drawn=4,
    landed=[Landed(KILL, INGEST), Landed(KILL, INGEST), Landed(REDIS, REFRESH)],
    tries=9,
    checks=[Check("no key is left", "12 keys", ()), Check("no file is left", "3 files", ("x.tmp is left",))],
    left_out=["No clock jumped."],
)


def test_a_run_is_a_table_of_its_faults_by_stage_and_of_its_checks():
    text = with_run(DOCUMENT, RUN)
    assert "3 of 4 drawn faults hit a stage that was running" in text
    assert "| SIGKILL of the process | 2 |  |  |  |  |  | 2 |" in text
    assert "| kill -9 of Redis |  |  | 1 |  |  |  | 1 |" in text
    assert "| all | 2 | 0 | 1 | 0 | 0 | 0 | 3 |" in text
    assert "| no key is left | 12 keys | yes |" in text
    assert "| no file is left | 3 files | **no**: x.tmp is left |" in text
    assert "No clock jumped." in text
    assert text.startswith("# Reliability")
    assert text.endswith("The end.\n")


def test_a_later_run_of_a_seed_takes_the_place_of_the_earlier_one():
    text = with_run(with_run(with_run(DOCUMENT, RUN), replace(RUN, seed=2)), replace(RUN, day="2026-01-02"))
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Seed 1, 2026-01-02",
        "### Seed 2, 2026-01-01",
    ]
    assert with_run(text, replace(RUN, day="2026-01-02")) == text
