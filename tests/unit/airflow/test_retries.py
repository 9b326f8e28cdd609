"""Which errors a task retries."""

import pytest
from airflow.sdk import RetryAction

from ncf_pipeline import errors
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS

PASSING = {
    "PassingError",
    "DatabaseUnavailableError",
    "StoreUnavailableError",
    "SourceUnavailableError",
    "ListStoreUnavailableError",
    "UncheckedError",
    "ErasedMeanwhileError",
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.NcfError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_faults_that_may_pass_are_retried(kind):
    decision = DEFAULT_ARGS["retry_policy"].evaluate(kind("a reason"), 1, 2)
    assert decision.action == (RetryAction.DEFAULT if kind.__name__ in PASSING else RetryAction.FAIL)


def test_a_retry_waits_longer_each_time():
    assert DEFAULT_ARGS["retries"] >= 2
    assert DEFAULT_ARGS["retry_exponential_backoff"] > 1
