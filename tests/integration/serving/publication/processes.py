"""A publisher and readers as separate processes, so that they can be killed and share nothing.

processes.py publish URL PREFIX CUSTOMERS [NUMBER]   every list begins with the publication's name
processes.py read URL PREFIX CUSTOMERS               until its input ends; prints what it saw, and notes it in Redis
processes.py measure URL PREFIX CUSTOMERS            prints by how many MB memory grew
"""

import json
import os
import resource
import sys
import threading

import pandas as pd
import redis

from ncf_pipeline.columns import LISTS_OF, Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

COUNTRIES = ("United Kingdom", "*")
PRODUCTS = ("85123A", "71053")
META = {"model_version": "v1", "cutoff": "2011-12-09T12:51:00", "top_n": 10}


def frames(mark, customers):
    """Lists of ten products, ten thousand customers a frame."""
    for start in range(0, customers, 10_000):
        rows = [
            ("customer", str(number), name, [mark, *(f"{20_000 + (number + place) % 4000}" for place in range(9))])
            for number in range(start, min(customers, start + 10_000))
            for name in LISTS_OF["customer"]
        ]
        yield pd.DataFrame(rows, columns=list(Lists.ALL))
    rows = [("product", code, name, [mark]) for code in PRODUCTS for name in LISTS_OF["product"]]
    rows += [("fallback", country, name, [mark]) for country in COUNTRIES for name in LISTS_OF["fallback"]]
    yield pd.DataFrame(rows, columns=list(Lists.ALL))


def publish(settings, customers, number=None):
    number = number or publication.newest_number(settings) + 1
    publication.publish(settings, frames(publication.name_of(number), customers), number=number, meta=META)


def read(settings, customers):
    """Reads in a loop; each answer must be complete, of one publication, and not older than the last."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    reads, faults, seen = 0, [], [""]
    notes = redis.Redis.from_url(settings.list_store())
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5) as shop:
        while not ended.is_set():
            answers = [
                *shop.lists_of_customer(reads % customers).values(),
                shop.for_customer("unknown", country="United Kingdom"),
                shop.for_visitor(list_name="new_arrivals"),
                shop.for_product(PRODUCTS[reads % 2]),
            ]
            sources = [entry.source for entry in answers]
            if sources != ["customer"] * 3 + ["country", "everywhere", "product"]:
                faults.append(["missing", sources, [entry.publication for entry in answers]])
            if any(entry.stock_codes[:1] != (entry.publication,) for entry in answers):
                faults.append(["mixed", [(entry.stock_codes[:1], entry.publication) for entry in answers]])
            if answers[0].publication < seen[-1]:
                faults.append(["backwards", seen[-1], answers[0].publication])
            if answers[0].publication != seen[-1]:
                seen.append(answers[0].publication)
                notes.hset("seen", os.getpid(), seen[-1])
            reads += 1
    return {"reads": reads, "faults": faults[:5], "publications": len(seen) - 1}


def measure(settings, customers):
    publish(settings, 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    publish(settings, customers)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


if __name__ == "__main__":
    action, url, prefix, customers, *rest = sys.argv[1:]
    of_shop = Settings(redis_url=url, key_prefix=prefix)
    result = {"publish": publish, "read": read, "measure": measure}[action](of_shop, int(customers), *map(int, rest))
    json.dump(result, sys.stdout)
