"""The readers: processes that ask for lists as a storefront does, all the time, and remember what they got.

    python -m chaos.readers CONFIG

They judge what only they can see (a page of two publications, an empty list, an erased customer) and keep what each
publication said, which `judge` compares with the publications' own files.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ncf_pipeline.storefront import DISCOVER, FOR_YOU, Recommendation, Storefront

_PAUSE = 0.1  # seconds between two pages
_SAVED_EVERY = 5.0  # seconds
_MOST_TOLD = 50  # violations of a reader; the first ones say what is wrong


@dataclass
class Seen:
    """What a reader saw.

    Attributes:
        reader: its name.
        shop: that it reads.
        pages: number of pages that were answered.
        unavailable: number of pages without an answer.
        lists: the different lists that each publication gave, by `publication|audience|key|list`.
        wrong: what no reader may see, in words.
    """

    reader: str
    shop: str
    pages: int = 0
    unavailable: int = 0
    lists: dict[str, list[list[str]]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def look(
        self, customer: str, answers: Mapping[str, Recommendation], *, erased: bool, country: str | None = None
    ) -> None:
        """Takes in a page: all lists of a customer, got in one round trip.

        Args:
            customer: whose page.
            answers: by the name of the list.
            erased: whether the customer was erased before the page was asked for.
            country: of the customer.
        """
        sources = {answer.source for answer in answers.values()}
        if "unavailable" in sources:
            self.unavailable += 1
            return
        self.pages += 1
        publications = {str(answer.publication) for answer in answers.values()}
        if len(publications) > 1:
            self._tell(f"a page of {' and '.join(sorted(publications))} for one customer")
        for name, answer in answers.items():
            if not answer.stock_codes and name in (FOR_YOU, DISCOVER):
                self._tell(f"an empty {name} (source {answer.source}, publication {answer.publication})")
            if answer.source == "customer":
                if erased:
                    self._tell(f"own {name} of an erased customer in {answer.publication}")
                self._keep(f"{answer.publication}|customer|{customer}|{name}", answer)
            elif answer.source in ("country", "everywhere"):
                key = "*" if answer.source == "everywhere" else country
                self._keep(f"{answer.publication}|fallback|{key}|{FOR_YOU}", answer)

    def look_at_product(self, code: str, name: str, answer: Recommendation) -> None:
        if answer.source == "product":
            self._keep(f"{answer.publication}|product|{code}|{name}", answer)

    def _keep(self, place: str, answer: Recommendation) -> None:
        variants = self.lists.setdefault(place, [])
        codes = list(answer.stock_codes)
        if codes not in variants:
            variants.append(codes)
            if len(variants) > 1:
                self._tell(f"two different lists at {place.rsplit('|', 2)[0].split('|')[0]} for one key")

    def _tell(self, what: str) -> None:
        if len(self.wrong) < _MOST_TOLD:
            self.wrong.append(f"{what}, at {time.strftime('%H:%M:%S')}")

    @staticmethod
    def read(path: Path) -> "Seen":
        return Seen(**json.loads(path.read_text()))


class Readers:
    """Starts and stops the readers; tells them who was erased."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(exist_ok=True)

    def start(
        self,
        name: str,
        shop: str,
        *,
        url: str,
        customers: Sequence[tuple[str, str]],
        products: Sequence[str],
        seed: int,
    ) -> None:
        self._erased(shop).touch()
        config = {
            "name": name, "shop": shop, "url": url, "customers": customers, "products": products, "seed": seed,
            "erased": str(self._erased(shop)), "out": str(self._folder / f"{name}.json"),
        }  # fmt: skip
        path = self._folder / f"{name}.config.json"
        path.write_text(json.dumps(config))
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "chaos.readers", str(path)],
                    env=dict(self._environment),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def tell_erased(self, shop: str, customer: str) -> None:
        with self._erased(shop).open("a") as file:
            file.write(f"{customer}\n")

    def kill(self) -> None:
        """Ends those that still run, whatever they saw."""
        for process in self._processes:
            process.kill()
            process.wait()

    def stop(self) -> list[Seen]:
        died = [process for process in self._processes if process.poll() is not None]
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(30)
        if died:
            raise RuntimeError(f"{len(died)} readers died: see {self._folder}/*.log")
        return [Seen.read(path) for path in sorted(self._folder.glob("reader*[0-9].json"))]

    def _erased(self, shop: str) -> Path:
        return self._folder / f"erased-{shop}.txt"


@contextmanager
def _ended_in_order() -> Iterator[list[bool]]:
    ended: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    yield ended


def main(config: Mapping[str, Any]) -> None:
    draw = random.Random(config["seed"])
    seen, out = Seen(config["name"], config["shop"]), Path(config["out"])
    erased_file = Path(config["erased"])
    saved = time.monotonic()
    with _ended_in_order() as ended, Storefront(config["url"], prefix=config["shop"]) as shop:
        while not ended:
            # Before the page is asked for: whoever is erased in between may still have been served.
            erased = set(erased_file.read_text().split("\n"))
            customer, country = draw.choice(config["customers"])
            if erased - {""} and draw.random() < 0.2:
                customer = draw.choice(sorted(erased - {""}))
            page = shop.lists_of_customer(customer, country=country)
            seen.look(customer, {str(name): answer for name, answer in page.items()}, erased=customer in erased,
                      country=country)  # fmt: skip
            code = draw.choice(config["products"])
            seen.look_at_product(code, "similar", shop.for_product(code, list_name="similar"))
            if time.monotonic() - saved > _SAVED_EVERY:
                _save(seen, out)
                saved = time.monotonic()
            time.sleep(_PAUSE)
    _save(seen, out)


def _save(seen: Seen, out: Path) -> None:
    new = out.with_suffix(".new")
    new.write_text(json.dumps(asdict(seen)))
    new.replace(out)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
