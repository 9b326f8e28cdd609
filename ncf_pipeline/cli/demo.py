"""`demo`: runs the main job, and shows its progress and results."""

import shlex
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli import rendering as tables
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from ncf_pipeline.local.airflow_api import TaskState
    from ncf_pipeline.training.report import TopSpender


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="NCF_DEMO_DATA",
            help="A workbook or CSV of invoices. Default: UCI's Online Retail; offline, a synthetic shop.",
        ),
    ] = None,
) -> None:
    """Run the main job end to end on embedded servers: invoices in, a gated model, lists in Redis.

    The schedules stay on: when `ncf-pipeline up` starts the servers again, new
    invoices are loaded, lists are refreshed, and models are trained by themselves.
    """
    from ncf_pipeline.local.demo import Measured, run_main_job
    from ncf_pipeline.local.demo_data import demo_data
    from ncf_pipeline.local.status import status

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 100  # a file has no width, and the default is too narrow for descriptions
    measured = Measured()
    start = time.monotonic()
    settings = load_settings()
    with measured.timed("data"):
        invoices = demo_data(settings, data, say=console.print)
    console.print(Text(f"Invoices: {invoices.note}"))
    fresh = status(settings).airflow_url is None
    started = time.monotonic()
    with serving(settings, airflow=True, say=console.print) as running:
        measured.seconds["start of the servers"] = time.monotonic() - started
        with _Watch(console) as watch:
            run_main_job(running, invoices.path, watch, measured, fresh=fresh)
        with measured.timed("results"):
            customer = _print_results(running, console)
        _print_how_to_look(running, console, customer, leaves_running=not fresh)
        stopping = time.monotonic()
    measured.seconds["stop"] = time.monotonic() - stopping
    _print_times(console, measured.seconds, time.monotonic() - start, measured.peak_memory_mb)


class _Watch(AbstractContextManager["_Watch"]):
    """Prints a line for each task that ends, with a progress bar below on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.fields[dag]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._live: AbstractContextManager[Any] = self._bar if console.is_terminal else nullcontext()

    def __enter__(self) -> "_Watch":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def run_moved(self, dag_id: str, tasks: "list[TaskState]") -> None:
        if dag_id not in self._bars:
            self._bars[dag_id] = self._bar.add_task("", dag=dag_id, total=len(tasks))
        ended = sum(task.finished for task in tasks)
        running = ", ".join(task.task_id for task in tasks if task.state == "running")
        self._bar.update(self._bars[dag_id], completed=ended, description=running or "...", visible=ended < len(tasks))

    def task_ended(self, task: "TaskState") -> None:
        mark, style = ("✓", "green") if task.state == "success" else ("-", "dim")
        took = f"{task.seconds:6.1f} s" if task.state == "success" and task.seconds is not None else " skipped"
        self._console.print(Text(f"{mark} {task.dag_id:<20} {task.task_id:<16} {took}", style=style))

    def task_tries_again(self, task: "TaskState", error: str) -> None:
        line = f"! {task.dag_id:<20} {task.task_id:<16} try {task.try_number} failed, retrying: {error}"
        self._console.print(Text(line, style="yellow"))


def _print_results(settings: Settings, console: Console) -> str | None:
    """Prints the results; returns the customer who spent most."""
    from ncf_pipeline.ingest.summary import batch_summary
    from ncf_pipeline.training import report as reports

    console.print()
    batch = batch_summary(settings)
    console.print(tables.batch_lines(batch))
    if not batch.counts.merged:
        console.print("Nothing changed: the database already had these invoices.")
    retrained = reports.retrain_summary(settings)
    model = retrained.model
    title = f"{model.name}, evaluated on {model.holdout_start:%Y-%m-%d} to {model.cutoff:%Y-%m-%d}"
    console.print()
    console.print(tables.evaluation_table(retrained.evaluation, title=title), soft_wrap=False)
    console.print(tables.decision_lines(retrained.decision, model.version))
    spenders = reports.top_spenders(settings, 10)
    console.print()
    console.print(_recommendations(settings, spenders), soft_wrap=False)
    return spenders[0].customer_id if spenders else None


def _recommendations(settings: Settings, customers: "list[TopSpender]") -> Table | str:
    """Returns a table of the top spenders, each with five products, read as the storefront reads them."""
    from ncf_pipeline.storefront import Storefront
    from ncf_pipeline.training.report import descriptions

    url, cluster = settings.list_store(), settings.redis_cluster
    with Storefront(url, prefix=settings.key_prefix, cluster=cluster, raise_errors=True, timeout=5) as shop:
        lists = {
            customer.customer_id: shop.for_customer(customer.customer_id, country=customer.country)
            for customer in customers
        }
    publications = {recommended.publication for recommended in lists.values()}
    if publications <= {None}:
        return "Nothing is published: no model has passed the gate yet."
    names = descriptions(settings, [code for recommended in lists.values() for code in recommended.stock_codes[:5]])
    title = f"Recommendations for the ten customers who spent most ({', '.join(map(str, publications))})"
    table = Table(title=title, title_justify="left", show_lines=True)
    for name in ("customer", "country"):
        table.add_column(name)
    table.add_column("spent", justify="right")
    table.add_column("for you")
    for customer in customers:
        recommended = lists[customer.customer_id]
        products = [names.get(code, code) for code in recommended.stock_codes[:5]]
        table.add_row(Text(customer.customer_id), customer.country, f"{customer.spent:,.0f}", "\n".join(products))
    return table


def _print_how_to_look(settings: Settings, console: Console, customer: str | None, *, leaves_running: bool) -> None:
    from ncf_pipeline.local.airflow_environment import ADMIN, admin_password_path
    from ncf_pipeline.local.passwords import password_path
    from ncf_pipeline.local.status import status

    state = status(settings)
    customer = customer if customer is not None else "14646"
    console.print()
    if leaves_running:
        console.print("What to look at: the servers still run.")
    else:
        console.print("What to look at: `ncf-pipeline up` starts the servers again and leaves them running. Then:")
    login = f"user {ADMIN}, password in {admin_password_path(settings.home.resolve())}"
    console.print(Text(f"  Airflow   {state.airflow_url}, {login}"))
    console.print(Text(f"  pages     {state.pages_url}   (what serves, what runs, how good it is)"))
    console.print(Text(f"  inbox     {state.inbox}   (drop invoices here)"))
    secret = shlex.quote(str(password_path(settings.home.resolve(), "redis")))
    key = f"{settings.key_prefix}:{state.live_publication}:customer:{customer}"
    port = state.ports.get("redis")
    if port is not None and state.live_publication is not None:
        line = f"REDISCLI_AUTH=$(cat {secret}) redis-cli -p {port} hget {shlex.quote(key)} for_you"
        console.print(Text(f"  Redis     {line}   (with redis-cli, from your system's redis-tools)"))
    console.print(
        Text(f"  lists     ncf-pipeline recommend {shlex.quote(customer)}   (also works without `ncf-pipeline up`)")
    )
    console.print()


def _print_times(console: Console, seconds: dict[str, float], total: float, peak_memory_mb: int) -> None:
    parts = ", ".join(f"{part} {_duration(took)}" for part, took in seconds.items() if took >= 0.5)
    console.print(f"Took {_duration(total)}: {parts}.")
    console.print(f"Peak memory of servers and tasks together: {peak_memory_mb / 1000:.1f} GB.")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
