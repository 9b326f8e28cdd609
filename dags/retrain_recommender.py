"""Retrain, and serve the result only if the gate lets it through.

The order is snapshot, backtest, gate, refit, register, prepare, score, publish. `score` is mapped over shards of the
customers, as in `refresh_lists`.
Beside it, `live_performance` measures the lists that were live since the last retrain, and alerts on-call of drift.
The tasks are the stages of `ncf_pipeline.training.retrain.run`, in its order.

| the run ended with | means | shoppers |
| --- | --- | --- |
| `publish` green | promoted | see the new model's lists |
| `held` green, `publish` skipped | not promoted; the log of `held` says why, and what serves | keep what serves |
| `held` and `publish` skipped | promoted, but a rollback came before it was live | see the version of the rollback |
| a red task | something broke; on-call was alerted | keep what serves |

What serves is the champion: the last model that was promoted, or version 0, the baselines, before there is one.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from ncf_pipeline.airflow import alerts
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.links import add_model_page
from ncf_pipeline.airflow.questions import REASON, Approval
from ncf_pipeline.airflow.schedules import retrain_deadline, timetable
from ncf_pipeline.airflow.settings import requested_by, task_settings
from ncf_pipeline.airflow.shards import score
from ncf_pipeline.settings import Settings

DEFAULTS = Settings()
GPU = "gpu"  # the name of the queue, and of the pool


@dag(
    description="Train, evaluate, gate and publish a new model.",
    doc_md=__doc__,
    schedule=timetable(DEFAULTS.retrain_schedule),
    deadline=retrain_deadline(DEFAULTS.retrain_deadline_hours),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=12),
    on_failure_callback=alerts.run_failed,
    tags=["recommender", "training"],
    params={
        "cutoff": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Cutoff",
            description="First day that the model does not see. Empty: just after the newest invoice.",
        ),
        "holdout_days": Param(
            DEFAULTS.holdout_days,
            type="integer",
            minimum=1,
            maximum=365,
            title="Holdout days",
            description="Days before the cutoff, on which the candidate and the incumbent are compared.",
        ),
        "k": Param(
            DEFAULTS.k,
            type="integer",
            minimum=1,
            maximum=100,
            title="K",
            description="Depth of the Precision@K that the gate compares.",
        ),
        "top_n": Param(
            DEFAULTS.top_n,
            type="integer",
            minimum=1,
            maximum=200,
            title="Top N",
            description="Length of a served list.",
        ),
        "seed": Param(DEFAULTS.seed, type="integer", minimum=0, title="Seed", description="Random seed of training."),
        "trees": Param(
            DEFAULTS.trees,
            type="boolean",
            title="Trees",
            description="Train gradient-boosted trees beside the network. Off: the network alone.",
        ),
        "approval": Param(
            DEFAULTS.approval,
            type="boolean",
            title="Approval",
            description="Ask a person, under Required Actions, before a version that passed the gate serves.",
        ),
    },
)
def retrain_recommender() -> None:
    @task
    def snapshot(params: Any = None, logical_date: datetime | None = None) -> str:
        """Takes a snapshot of the interactions before the cutoff, and checks it; returns its id."""
        from ncf_pipeline.training import retrain

        cutoff = datetime.fromisoformat(params["cutoff"]) if params["cutoff"] else None
        # A backfilled run must not see purchases after its day.
        not_after = logical_date.replace(tzinfo=None) if logical_date else None
        return retrain.snapshot(task_settings(), cutoff, not_after=not_after)

    @task
    def live_performance(snapshot_id: str) -> None:
        """Scores the lists that were live since the last retrain, and alerts on-call of drift."""
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.live import performance as live_performance

        report = live_performance.live_performance(task_settings(), snapshot_id)
        if report is None:
            return
        if message := live_performance.message(report):
            alerts.warn(message, kind=kinds.DATA_DRIFT)
        else:
            alerts.over(kinds.DATA_DRIFT)

    @task(queue=GPU, pool=GPU)
    def backtest(snapshot_id: str, params: Any = None, dag_run: Any = None) -> int:
        """Trains a candidate on the purchases before the holdout, and evaluates it; returns its version."""
        from ncf_pipeline.training import retrain

        given = {name: params[name] for name in ("holdout_days", "k", "top_n", "seed", "trees")}
        return retrain.backtest(
            task_settings(**given), snapshot_id, run_key=dag_run.run_id, requested_by=requested_by(dag_run)
        )

    @task.branch
    def gate(version: int) -> str:
        """Decides by the evaluation whether `refit` or `held` follows."""
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.training import retrain

        settings = task_settings()
        decision = retrain.gate(settings, version)
        if message := retrain.not_compared(settings, version):
            alerts.warn(message, kind=kinds.ATTENTION)
        return "refit" if decision.promote else "held"

    @task.branch(queue=GPU, pool=GPU)
    def refit(version: int) -> str:
        """Trains the same recipe on everything before the cutoff; `approve` or `held` follows."""
        from ncf_pipeline.training import retrain

        return "approve" if retrain.refit(task_settings(), version) else "held"

    @task.branch
    def register(version: int, answer: dict[str, Any] | None) -> str:
        """Makes the version the champion; `held` follows if another version was made to serve meanwhile."""
        from ncf_pipeline.airflow.questions import as_answer
        from ncf_pipeline.training import retrain

        return "prepare" if retrain.register(task_settings(), version, as_answer(answer)) else "held"

    @task
    def prepare(version: int) -> list[str]:
        """Opens a draft of the version's lists; returns the URLs of the parts to make, one for each shard."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.errors import SupersededError
        from ncf_pipeline.training import retrain

        try:
            return retrain.prepare(task_settings(), version)
        except SupersededError as error:
            raise AirflowSkipException(str(error)) from error

    @task
    def publish(version: int, parts: Any) -> int:
        """Joins the parts under a new number, checks all lists, and makes them live; returns the number."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.errors import SupersededError
        from ncf_pipeline.training import retrain

        try:
            return retrain.publish(task_settings(), version, list(parts))
        except SupersededError as error:
            raise AirflowSkipException(str(error)) from error

    @task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    def held(version: int, task_instance: Any = None) -> None:
        """Ends a run whose candidate may not serve. Nothing changes for shoppers."""
        from ncf_pipeline.airflow.questions import as_answer
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.training import retrain

        answer = as_answer(task_instance.xcom_pull(task_ids="approve"))
        if answer is not None and not answer.approved:
            retrain.reject(task_settings(), version, answer)
        from ncf_pipeline.registry import versions as registry

        reasons = retrain.log_decision(task_settings(), version)
        why = reasons[0] if reasons else "another version was made to serve meanwhile"
        what = f"v{version} is held; {registry.what_serves(task_settings())}. Because: {why.rstrip('.')}."
        look = f"ncf-pipeline models show {version}"
        alerts.warn("\n".join([what, *reasons[1:]]), kind=kinds.MODEL_HELD, key=f"v{version}", look=look)

    snapshot_id: Any = snapshot()
    live_performance(snapshot_id)  # nothing waits for it
    version: Any = backtest(snapshot_id)
    approved = Approval(
        task_id="approve",
        version=version,
        params=REASON,
        doc="Asks a person whether the version may serve, if approval is on.",
    )
    answer: Any = approved.output
    refitted, registered = refit(version), register(version, answer)
    prepared: Any = prepare(version)
    published, end = publish(version, score.expand(part=prepared)), held(version)
    gated = gate(version)
    add_model_page(gated, refitted, registered, prepared, published, end)
    gated >> [refitted, end]
    refitted >> [approved, end]
    # A no skips `register`, the only task after `approve`, and so leads to `held`.
    approved >> registered
    registered >> [prepared, end]


retrain_recommender()
