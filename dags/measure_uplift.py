"""Measure the running experiment: do the lists sell more, by how much, and is anybody harmed?

| alert | when |
| --- | --- |
| the groups are out of proportion | chance makes such groups in fewer than 1 of 1,000 experiments |
| the experiment harms its share | the share is surely worse off than the others by more than the harm bound |
| the lists sell less than best sellers | they surely do |

The report is in the artifact store, and in Airflow's UI under Recommender. If the experiment has ended, at this look or
before, and its groups' lists are still live, `publish` gives everybody the champion's lists. If no experiment runs, the
run is skipped.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from ncf_pipeline.airflow import alerts
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.schedules import timetable
from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.settings import Settings


@dag(
    description="Measure the running experiment: do the lists sell more?",
    doc_md=__doc__,
    schedule=timetable(Settings().uplift_schedule),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=6),
    on_failure_callback=alerts.run_failed,
    tags=["recommender", "merchandising"],
)
def measure_uplift() -> None:
    @task.short_circuit
    def measure() -> bool:
        """Returns whether lists are live that were made for the groups of an experiment that has ended."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.experiments import records as experiment_registry
        from ncf_pipeline.experiments import stages as experiments

        settings = task_settings()
        running = experiment_registry.running(settings)
        if running is None:
            for kind in (kinds.SAMPLE_RATIO, kinds.EXPERIMENT_HARM, kinds.LISTS_LOSE):
                alerts.over(kind)
            if experiments.outlived(settings):  # `stop` was killed before it published
                return True
            raise AirflowSkipException("No experiment runs: `ncf-pipeline experiment start` starts one.")
        found = experiments.look(settings, running.design.name)
        if found is None:
            return experiments.outlived(settings)
        look = f"ncf-pipeline experiment report {found.name}"
        messages = {
            kinds.SAMPLE_RATIO: found.mismatch,
            kinds.EXPERIMENT_HARM: found.harm,
            kinds.LISTS_LOSE: found.loss,
        }
        for kind, message in messages.items():
            if message is None:
                alerts.over(kind, found.name)
            else:
                alerts.warn(f"{found.name}: {message}", kind=kind, key=found.name, look=look)
        experiments.conclude(settings, found)
        return experiments.outlived(settings)

    @task
    def publish() -> int | None:
        """Publishes the champion's lists for everybody, and returns the publication's number."""
        from ncf_pipeline.serving.publish import refresh

        return refresh(task_settings())

    measure() >> publish()


measure_uplift()
