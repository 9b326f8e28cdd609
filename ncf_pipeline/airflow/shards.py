"""The task `score` of the DAGs that publish: it is mapped over the shards of a draft."""

from typing import Any, Final

from airflow.sdk import task

from ncf_pipeline.settings import Settings

_DEFAULTS = Settings()  # read by the DAG processor
_OPTIONS: Final[dict[str, Any]] = {
    "max_active_tis_per_dagrun": _DEFAULTS.scoring_at_once,
    **({"queue": _DEFAULTS.scoring_queue} if _DEFAULTS.scoring_queue is not None else {}),
}


def _score(part: str) -> str:
    """Makes the lists of one shard; returns the URL of its part.

    A shard that nobody needs any more is not scored: `publish` starts again.
    """
    from ncf_pipeline.airflow.settings import task_settings
    from ncf_pipeline.serving.scoring import score_shards

    score_shards(task_settings(), [part])
    return part


score: Any = task(task_id="score", **_OPTIONS)(_score)
