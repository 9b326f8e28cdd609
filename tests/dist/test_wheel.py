"""The life of the wheel: built, installed without the checkout, run from another folder."""

import json
import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ncf_pipeline import __version__

pytestmark = [pytest.mark.trains, pytest.mark.airflow, pytest.mark.xdist_group("wheel"), pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

MAKE_SHOP = """
from pathlib import Path
from ncf_pipeline.synthetic import write_workbook
write_workbook(Path("invoices.xlsx"), customers=60, products=40, days=120, seed=1, customer_ids=["C-1001"])
"""

LOAD_DAGS = """
import json, ncf_pipeline
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_fastapi_plugins
from airflow.utils.db import initdb
from ncf_pipeline.storage.resources import resource
initdb()
bag = DagBag(str(resource("dags")))
print(json.dumps({
    "package": ncf_pipeline.__file__, "dags": sorted(bag.dags), "errors": bag.import_errors,
    "apps": [app["url_prefix"] for app in get_fastapi_plugins()[0]],
}))
"""

OPEN_PAGES = """
import json
from fastapi.testclient import TestClient
from ncf_pipeline.local import serving
from ncf_pipeline.pages.demo_shop.app import create_app as make_shop
from ncf_pipeline.pages.recommender.app import create_app as make_site
from ncf_pipeline.settings import load_settings
opened = {}
with serving(load_settings()) as settings:
    with TestClient(make_shop(settings), base_url="http://localhost") as shop:
        for path in ("/", "/customers/C-1001", "/visitors", "/static/shop.css", "/static/shelf.css"):
            opened[f"shop {path}"] = shop.get(path).status_code
    with TestClient(make_site(lambda: settings), base_url="http://localhost") as site:
        for path in ("/", "/runbook", "/static/page.css"):
            opened[f"site {path}"] = site.get(path).status_code
print(json.dumps(opened))
"""


def run(*command, cwd, env=None):
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the wheel and the sdist, as `make dist` makes them: the wheel from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", out, cwd=ROOT)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    return built / f"ncf_pipeline-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def folder(wheel, tmp_path_factory):
    """An empty folder, with an environment that has the wheel, and the packages of this one, but not the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", python, wheel, cwd=folder)
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path, so the links of an editable install in there are not followed.
    (own / "packages.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    names = {name for name in os.environ if name.startswith(("NCF_", "AIRFLOW", "PYTHON"))}
    return {name: value for name, value in os.environ.items() if name not in names} | {
        "PATH": f"{folder}/venv/bin:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "OMP_NUM_THREADS": "1",
    }


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"ncf_pipeline-{__version__}.dist-info/METADATA").decode()
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if kept:
        in_wheel = {path for path in kept if path.startswith("ncf_pipeline/")} | {
            f"ncf_pipeline/_resources/{path}"
            for path in kept
            if path.startswith(("dags/", "expectations/", "sql/")) or path == "docs/runbook.md"
        }
        assert {name for name in names if ".dist-info/" not in name} == in_wheel
    assert f"ncf_pipeline-{__version__}.dist-info/licenses/LICENSE" in names
    assert "ncf_pipeline/py.typed" in names
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    without_extra = [line for line in needs if "extra ==" not in line]
    assert without_extra == ["Requires-Dist: redis>=5.2"]


def test_the_sdist_builds_the_same_wheel_as_the_checkout(wheel, built, tmp_path):
    run(sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, cwd=ROOT)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
    with tarfile.open(built / f"ncf_pipeline-{__version__}.tar.gz") as archive:
        assert f"ncf_pipeline-{__version__}/LICENSE" in archive.getnames()


def test_a_shop_lives_from_the_wheel_alone(folder, environment):
    def ncf(*arguments):
        return run(folder / "venv/bin/ncf-pipeline", *arguments, cwd=folder, env=environment)

    assert ncf("--version") == f"{__version__}\n"
    run(folder / "venv/bin/python", "-c", MAKE_SHOP, cwd=folder, env=environment)
    try:
        ncf("up", "--no-airflow")
        ncf("ingest", "invoices.xlsx")
        ncf("retrain")
        (newest, *_) = json.loads(ncf("models", "--json"))
        assert newest["version"] == 1
        assert json.loads(ncf("recommend", "C-1001", "--json"))["products"]
        opened = json.loads(
            run(folder / "venv/bin/python", "-c", OPEN_PAGES, cwd=folder, env=environment).splitlines()[-1]
        )
        assert set(opened.values()) == {200}, opened
    finally:
        ncf("down")


def test_the_wheel_has_every_dag_and_serves_its_pages_in_airflow(folder, environment):
    found = json.loads(run(folder / "venv/bin/python", "-c", LOAD_DAGS, cwd=folder, env=environment).splitlines()[-1])
    assert Path(found["package"]).is_relative_to(folder)
    assert found["errors"] == {}
    assert found["dags"] == sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
    assert "/recommender" in found["apps"]
