"""The table of a run, as docs/reliability.md has it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.judge import Check
from chaos.schedule import STAGES

_START, _END = "<!-- written by make chaos -->", "<!-- end -->"


@dataclass(frozen=True)
class Landed:
    """A fault that hit a running stage, for the table.

    Attributes:
        kind: of the fault.
        stage: that it hit.
    """

    kind: str
    stage: str


@dataclass(frozen=True)
class Run:
    """What a run did, and what it showed.

    Attributes:
        seed: of the schedule.
        day: of the run.
        minutes: that the faults lasted.
        drawn: number of faults drawn, of which some came too late to hit anything.
        landed: those that hit.
        tries: of all stages.
        checks: and their outcomes.
        left_out: what this machine does not allow, in sentences.
    """

    seed: int
    day: str
    minutes: float
    drawn: int
    landed: Sequence[Landed]
    tries: int
    checks: Sequence[Check]
    left_out: Sequence[str]

    @property
    def is_clean(self) -> bool:
        return not any(check.wrong for check in self.checks)


def section(run: Run) -> str:
    """A run as Markdown: the faults by stage, and the checks."""
    count = Counter((each.kind, each.stage) for each in run.landed)
    kinds = sorted({each.kind for each in run.landed})
    lines = [
        f"### Seed {run.seed}, {run.day}",
        "",
        f"{len(run.landed)} of {run.drawn} drawn faults hit a stage that was running, in {run.minutes:.0f} minutes and "
        f"{run.tries} tries.",
        "",
        f"| fault | {' | '.join(STAGES)} | all |",
        f"| --- |{' ---: |' * (len(STAGES) + 1)}",
    ]
    for kind in kinds:
        cells = [str(count[kind, stage] or "") for stage in STAGES]
        lines.append(f"| {kind} | {' | '.join(cells)} | {sum(count[kind, stage] for stage in STAGES)} |")
    totals = [str(sum(count[kind, stage] for kind in kinds)) for stage in STAGES]
    lines += [f"| all | {' | '.join(totals)} | {len(run.landed)} |", ""]
    lines += ["| checked | on | outcome |", "| --- | --- | --- |"]
    lines += [
        f"| {check.name} | {check.looked_at} | {'**no**: ' + '; '.join(check.wrong[:3]) if check.wrong else 'yes'} |"
        for check in run.checks
    ]
    lines += [f"\n{sentence}" for sentence in run.left_out]
    return "\n".join(lines) + "\n"


def with_run(document: str, run: Run) -> str:
    """The document with a run's section, in place of an earlier one of the same seed; the newest is first.

    Args:
        document: docs/reliability.md.
        run: the new one.
    """
    before, _, rest = document.partition(_START)
    inside, _, after = rest.partition(_END)
    sections = [part for part in inside.split("### ") if part.strip() and not part.startswith(f"Seed {run.seed},")]
    mine = section(run).removeprefix("### ")
    kept = "".join(f"### {part.strip()}\n\n" for part in [mine, *sections])
    return f"{before}{_START}\n\n{kept}{_END}{after}"
