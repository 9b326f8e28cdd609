"""Runs the chaos, judges what is left, and writes docs/reliability.md.

    PYTHONPATH=benchmarks python -m chaos --seed 1 --minutes 20

The exit code is 1 if a check does not hold. Then everything stays in a folder under the machine's temporary one, whose
name is printed: `diary.jsonl` has each try with its fault, and `logs/` what each command said.
"""

import argparse
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from chaos import judge, schedule
from chaos.evidence import checks_of_shop, tidy, told, undisturbed
from chaos.lanes import CommandLane, Diary, Lane, prepare, read
from chaos.orchestra import LANES, Airflow, Orchestra, ready, red_runs, settle
from chaos.readers import Readers
from chaos.report import Landed, Run, with_run
from chaos.stages import CRASHED
from chaos.world import CLOUD, DISK, FIRST_DAYS, SHOPS, Shop, World, inherited, made
from ncf_pipeline.local.signals import ending_in_order
from ncf_pipeline.settings import Settings

READERS = 4
LEAST_FAULTS_A_MINUTE = 12.5  # 200 in the sixteen minutes that a run of twenty has for faults
_TOLD_SECONDS = 300  # that the watcher has for the last red run, and for its end
_SETTLED = 0.2  # share of the time for the start, the undisturbed run and the checks


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20, help="for everything, the checks included")
    parser.add_argument("--schedule", action="store_true", help="only print the first jobs of each lane")
    parser.add_argument("--no-airflow", action="store_true", help="only the commands")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    parser.add_argument("--write", type=Path, help="the document to write the run into")
    asked = parser.parse_args()
    if asked.schedule:
        for name in (*SHOPS, *LANES):
            for job in itertools.islice(lane_jobs(asked.seed, name), 40):
                print(json.dumps({"lane": name, **asdict(job)}))
        return 0
    keep = [asked.keep]
    began = time.monotonic()
    with ending_in_order(), made(keep=True) as world:
        say(f"In {world.root}")
        run = chaos(world, asked.seed, asked.minutes, began, with_airflow=not asked.no_airflow)
        keep[0] = keep[0] or not run.is_clean
    if not keep[0]:
        import shutil

        shutil.rmtree(world.root, ignore_errors=True)
    for check in run.checks:
        say(f"{'ok ' if not check.wrong else 'NO '} {check.name} ({check.looked_at})")
        for wrong in check.wrong:
            say(f"      {wrong}")
    if asked.write:
        asked.write.write_text(with_run(asked.write.read_text(), run))
    say(f"{time.monotonic() - began:.0f} s in all" + (f"; see {world.root}" if keep[0] else ""))
    return 0 if run.is_clean else 1


def lane_jobs(seed: int, lane: str) -> Iterator[schedule.Job]:
    """The jobs of a lane: of a shop's commands, or of Airflow."""
    if lane in LANES:
        return schedule.jobs(seed, lane, schedule.OF_AIRFLOW, stages=LANES[lane], red_every=schedule.RED_EVERY)
    kinds = {DISK: schedule.OF_DISK, CLOUD: schedule.OF_CLOUD}[lane]
    return schedule.jobs(seed, lane, kinds, stages=schedule.OFTEN)


def chaos(world: World, seed: int, minutes: float, began: float, *, with_airflow: bool) -> Run:
    """Opens the shops, lets the lanes cause their faults, and judges what is left."""
    shops = [world.open_shop(name, seed) for name in SHOPS]
    airflow = Airflow(world, shops[0]) if with_airflow else None
    readers = Readers(world.root / "readers", inherited())
    try:
        together(
            [
                *(Part(prepare, shop, FIRST_DAYS) for shop in shops),
                *([Part(ready, airflow)] if airflow is not None else []),
            ]
        )
        say(f"The shops are open after {time.monotonic() - began:.0f} s")
        for number in range(1, READERS + 1):
            shop = shops[number % len(shops)]
            customers, products = whom_to_read(shop)
            readers.start(
                f"reader{number}", shop.name, url=world.redis_url, customers=customers, products=products,
                seed=seed + number,
            )  # fmt: skip
        diary = Diary(world.root / "diary.jsonl")
        started = time.monotonic()
        until = began + minutes * 60 * (1 - _SETTLED)
        lanes: list[Lane] = [
            CommandLane(shop.name, world, shop, diary, readers, lane_jobs(seed, shop.name), until) for shop in shops
        ]
        if airflow is not None:
            lanes += [
                Orchestra(name, world, airflow, shops[0], diary, readers, lane_jobs(seed, name), until)
                for name in LANES
            ]
        together(lanes)
        lasted = (time.monotonic() - started) / 60
        say(f"{diary.landed} faults in {lasted:.1f} minutes, {len(diary.steps)} tries")
        return judged(world, seed, airflow, diary, readers, lasted, sum(lane.done for lane in lanes))
    finally:
        world.stopping = True
        readers.kill()
        if airflow is not None:
            airflow.stop()


def judged(
    world: World, seed: int, airflow: Airflow | None, diary: Diary, readers: Readers, lasted: float, jobs: int
) -> Run:
    """Tidies up as upkeep does in time, makes the undisturbed run, and checks everything."""
    shops = list(world.shops.values())
    world.ensure()
    red: list[judge.RedRun] = []
    runs = 0
    if airflow is not None:
        airflow.start()
        settle(airflow, patience=60)
        red, runs = red_runs(airflow)
        patience = time.monotonic() + _TOLD_SECONDS
        while judge.red_runs_are_told_once(red, told(world, shops[0]), runs=1).wrong and time.monotonic() < patience:
            time.sleep(5)
    failed: list[str] = []
    together([Part(lambda shop=shop: failed.extend(tidy(shop))) for shop in shops])
    seen = readers.stop()
    calm: dict[str, Settings] = {}
    together([Part(lambda shop=shop: calm.update({shop.name: undisturbed(world, shop)})) for shop in shops])
    faults = [step for step in diary.steps if step.fault is not None]
    crashes = [
        f"{step.lane}, job {step.job}, {step.stage}, after {step.fault.kind if step.fault else 'no fault'}: "
        f"{step.words}"
        for step in diary.steps
        if step.code == CRASHED
    ]
    checks = [
        judge.enough_faults(diary.landed, int(LEAST_FAULTS_A_MINUTE * lasted)),
        judge.stages_recovered([*diary.gave_up, *failed], jobs),
        judge.errors_are_sentences(crashes, sum(bool(step.code) for step in diary.steps)),
        judge.readers_saw_nothing_wrong(seen, readers=READERS, least_pages=100),
        *(check for shop in shops for check in checks_of_shop(shop, calm[shop.name], world, seen)),
    ]
    if airflow is not None:
        checks.append(judge.red_runs_are_told_once(red, told(world, shops[0]), runs=runs))
    left_out = []
    if not world.may_mount:
        left_out.append("No full disk was tried: only root may mount a small one.")
    if world.library is None:
        left_out.append("No clock jumped: there is no C compiler here.")
    return Run(
        seed=seed,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        minutes=lasted,
        drawn=len(faults),
        landed=[Landed(step.fault.kind, step.stage) for step in faults if step.landed and step.fault is not None],
        tries=len(diary.steps),
        checks=checks,
        left_out=left_out,
    )


class Part(threading.Thread):
    """A function in a thread; its error is kept."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._function, self._arguments = function, arguments
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            self._function(*self._arguments)
        except BaseException as error:
            self.problem = error


def together(threads: "Sequence[Part | Lane]") -> None:
    """Starts threads and waits for all of them; raises the error of the first that has one."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.problem is not None:
            raise thread.problem


def whom_to_read(shop: Shop) -> tuple[list[tuple[str, str]], list[str]]:
    """Some customers with their countries, and some products."""
    customers = read(
        shop,
        "select customer_id, min(country) from retail.invoice_line where customer_id is not null "
        "group by customer_id order by customer_id limit 60",
    )
    products = read(shop, "select stock_code from retail.product order by stock_code limit 20")
    return [(str(who), str(country)) for who, country in customers], [str(code) for (code,) in products]


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
