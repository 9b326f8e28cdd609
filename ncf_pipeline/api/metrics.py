"""What Prometheus reads of the API. No label names a customer, a product or a key."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from ncf_pipeline.api.guard import asked
from ncf_pipeline.storefront import Statistics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """Counts of this process, since it was started.

    Args:
        statistics: what the storefront's client met that it could not use.
    """

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Met(statistics))
        self._seconds = Histogram(
            "ncf_api_request_seconds",
            "Seconds until a request was answered, by its address and the status of the answer.",
            ("method", "address", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lists = Counter(
            "ncf_api_lists",
            "Lists that were answered, by where they come from; `unavailable` if Redis did not answer.",
            ("name", "source"),
            registry=self.registry,
        )

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts an answer: see `guard.Done`."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._seconds.labels(method, asked(scope), str(status)).observe(seconds)

    def listed(self, name: str, source: str) -> None:
        """Counts a list."""
        self._lists.labels(name, source).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Met(Collector):
    """The client's own statistics."""

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yields them as one counter."""
        family = CounterMetricFamily(
            "ncf_api_client", "What the storefront's client met that it could not use.", labels=["what"]
        )
        for what, count in asdict(self._statistics()).items():
            family.add_metric([what], count)
        yield family
