"""Tasks that ask a person while the run waits. The answer is given under Required Actions in Airflow's UI."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param

from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.errors import InputError
from ncf_pipeline.training.approval import Answer, person

REASON = {"reason": Param(None, type=["null", "string"], title="Reason", description="For the registry.")}
"""What `Approval` asks besides yes or no. Airflow accepts it only as an argument of the task."""


class Approval(ApprovalOperator):
    """Asks whether a version may serve, if approval is on; a no skips the next task.

    Args:
        version: the version's number, from an earlier task.
        options: of `ApprovalOperator`.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "version")

    def __init__(self, *, version: Any, **options: Any) -> None:
        super().__init__(subject="May this version serve?", **options)
        self.version = version

    def execute(self, context: Any) -> Any:
        """Waits for an answer; with approval off, ends at once."""
        from ncf_pipeline.registry import versions as registry

        if not context["params"]["approval"]:
            self.log.info("Approval is off: nobody is asked.")
            return None
        settings = task_settings()
        self.response_timeout = timedelta(hours=settings.approval_hours)
        self.defaults = [self.APPROVE if settings.approval_default == "approve" else self.REJECT]
        decision = registry.gate_decision(settings, int(self.version))
        reasons = decision.reasons if decision else ()
        self.subject = f"May v{self.version} serve?"
        self.body = "\n".join(
            [
                f"The gate lets it through. Without an answer within {settings.approval_hours:g} hours: "
                f"{self.defaults[0]}.",
                "",
                *(f"- {reason}" for reason in reasons),
                "",
                f"`ncf-pipeline models show v{self.version}` has every number.",
            ]
        )
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Stores the answer itself: after a no, Airflow does not store what the task returns."""
        kept = {name: event.get(name) for name in ("chosen_options", "params_input", "responded_by_user")}
        context["ti"].xcom_push(key="return_value", value=kept)
        return super().execute_complete(context, event)


class ChooseVersion(HITLOperator):
    """Returns the version that the form names; if it names none, shows the versions that can serve and asks.

    Args:
        options: of `HITLOperator`.
    """

    WAIT = timedelta(hours=1)

    def __init__(self, **options: Any) -> None:
        super().__init__(subject="Which version should serve?", options=["v1"], response_timeout=self.WAIT, **options)

    def execute(self, context: Any) -> Any:
        """Waits for an answer, unless the form names a version."""
        from ncf_pipeline.serving import rollback

        if (version := context["params"]["version"]) is not None:
            return int(version)
        servable = rollback.servable_versions(task_settings())
        if not servable:
            raise InputError("No version has served yet, so there is none to roll back to.")
        self.options = [f"v{entry.version}" for entry in servable]
        self.body = "\n".join(
            [
                "| version | state | trained on purchases before | lists use purchases before | takes |",
                "| --- | --- | --- | --- | --- |",
                *(
                    f"| v{entry.version} | {entry.state}{', rolled back' if entry.withdrawn else ''} "
                    f"| {entry.cutoff:%Y-%m-%d} | {entry.as_of:%Y-%m-%dT%H:%M} "
                    f"| {'a second' if entry.in_redis else 'longer: its lists are published again'} |"
                    for entry in servable
                ),
            ]
        )
        return super().execute(context)

    def validate_chosen_options(self, chosen_options: list[str]) -> None:
        """Checks nothing: Airflow has compared the answer with the shown options, which are unknown here."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Returns the chosen version."""
        answer = super().execute_complete(context, event)
        return int(answer["chosen_options"][0].removeprefix("v"))

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:  # noqa: ARG002
        """Fails without another try if nobody answers."""
        raise InputError("Nobody chose a version in time, so nothing was changed.")


def as_answer(kept: dict[str, Any] | None) -> Answer | None:
    """Reads the answer that `Approval` stored; None if nobody was asked."""
    if not kept:
        return None
    user = kept["responded_by_user"]
    return Answer(
        approved=Approval.APPROVE in kept["chosen_options"],
        by=person(user["name"] if user else "nobody in time"),
        reason=(kept["params_input"] or {}).get("reason"),
    )
