"""What the chaos happens to: two shops on one Postgres and one Redis, on small disks of their own.

The shop `disk` keeps its artifacts in files, the shop `cloud` in an object store. The servers are the embedded ones,
started as servers of others would be: Airflow, which `up` starts, finds them through `NCF_DATABASE_URL` and
`NCF_REDIS_URL`. So its own Postgres is another one.
"""

import importlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import psutil
import psycopg2
import redis as redis_client
from pydantic import SecretStr

import ncf_pipeline.local.redis
from chaos.channel import Channel
from chaos.stages import Launcher
from ncf_pipeline import synthetic
from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.postgres import PARAMETERS, SUPERUSER, database_url, ensure_database, start_postgres
from ncf_pipeline.local.processes import ServerProcess, spawn
from ncf_pipeline.local.redis import redis_url, start_redis
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.migrations import migrate

DISK, CLOUD = SHOPS = ("disk", "cloud")

CUSTOMERS, PRODUCTS, DAYS, FIRST_DAYS = 140, 60, 230, 80
"""Of each shop; its first days are loaded before the chaos begins."""

_FILES_MB, _SERVERS_MB = 96, 700
_SECRET = "chaos"


class Clock:
    """How far a clock is ahead; the processes that load `clock.c` read it."""

    def __init__(self, path: Path, library: Path | None) -> None:
        path.write_bytes(struct.pack("<q", 0))
        self._file = path.open("r+b")
        self._held = mmap.mmap(self._file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(path)} if library is not None else {}

    def jump(self, seconds: int) -> None:
        self._held[:8] = struct.pack("<q", seconds)


@dataclass
class Shop:
    """One of the two shops."""

    name: str
    settings: Settings
    environment: dict[str, str]
    clock: Clock
    launcher: Launcher
    days: list[Path]  # files of invoices, not loaded yet
    history: list[tuple[str, str]] = field(default_factory=list)  # what was loaded and who was erased, in order
    usual: dict[str, float] = field(default_factory=dict)  # seconds that a stage takes without a fault
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, what: str, of: str) -> None:
        with self.lock:
            self.history.append((what, of))

    def next_day(self) -> Path | None:
        with self.lock:
            return self.days.pop(0) if self.days else None


class World:
    """The servers, the disks and the shops; `made` makes one and takes it down."""

    def __init__(self, root: Path, channel: Channel) -> None:
        self.root = root
        self.channel = channel
        self.may_mount = False
        self.resources = {name: threading.RLock() for name in ("postgres", "redis", "files", "servers", "store")}
        self.calm = threading.Lock()
        self.library = _compiled(root)
        self._processes: dict[str, ServerProcess] = {}
        self._ports: dict[str, int] = {}
        self.files, self.servers = root / "files", root / "servers"
        self.redis_clock = Clock(root / "redis.clock", self.library)
        self._mounted: list[Path] = []
        self.shops: dict[str, Shop] = {}
        self.blows: list[float] = []  # `time.time()` of faults that may part a message to on-call from its record
        self.stopping = False

    @property
    def busy_flag(self) -> Path:
        return self.root / "store-is-busy"

    @property
    def postgres(self) -> ServerProcess:
        return self._processes["postgres"]

    @property
    def redis(self) -> ServerProcess:
        return self._processes["redis"]

    @property
    def redis_url(self) -> str:
        return redis_url(self._ports["redis"], password=_SECRET)

    def client(self) -> redis_client.Redis:
        return redis_client.Redis.from_url(self.redis_url, socket_timeout=5, socket_connect_timeout=5)

    def start(self) -> None:
        for folder, megabytes in ((self.files, _FILES_MB), (self.servers, _SERVERS_MB)):
            folder.mkdir()
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "chaos", str(folder)],
                check=False,
                capture_output=True,
            )
            if mounted.returncode == 0:
                self._mounted.append(folder)
        self.may_mount = len(self._mounted) == 2
        # One after another: a port is free until somebody listens on it.
        for server, start in (("postgres", self.ensure_postgres), ("redis", self.ensure_redis)):
            self._ports[server] = free_port()
            start()
        self._ports["store"] = free_port()
        self._start_store()

    def ensure_postgres(self) -> None:
        """Starts Postgres if it does not run, and waits until it answers."""
        with self.resources["postgres"]:
            deadline = time.monotonic() + 60
            while True:
                if not _alive(self._processes.get("postgres")):
                    with suppress(ServiceError):
                        self._processes["postgres"] = start_postgres(
                            self.servers / "postgres",
                            port=self._ports["postgres"],
                            password=_SECRET,
                            log=self.root / "logs" / "postgres.log",
                            parameters={**PARAMETERS, "shared_buffers": "64MB", "max_wal_size": "128MB",
                                        "min_wal_size": "32MB"},
                        )  # fmt: skip
                with suppress(psycopg2.Error), closing(psycopg2.connect(self.server_url, connect_timeout=5)):
                    return
                if time.monotonic() > deadline:
                    raise ServiceError("Postgres does not come back: see logs/postgres.log.")
                time.sleep(0.2)

    def ensure_redis(self) -> None:
        """Starts Redis if it does not run."""
        with self.resources["redis"]:
            deadline = time.monotonic() + 60
            while not _alive(self._processes.get("redis")):
                with (
                    suppress(ServiceError),
                    patch.object(ncf_pipeline.local.redis, "spawn", self._with_clock),
                ):
                    self._processes["redis"] = start_redis(
                        self.servers / "redis",
                        port=self._ports["redis"],
                        password=_SECRET,
                        log=self.root / "logs" / "redis.log",
                    )
                if time.monotonic() > deadline:
                    raise ServiceError("Redis does not come back: see logs/redis.log.")

    def ensure(self) -> None:
        self.ensure_postgres()
        self.ensure_redis()

    @property
    def server_url(self) -> str:
        return database_url(self._ports["postgres"], role=SUPERUSER, password=_SECRET, database="postgres")

    def settings(self, name: str, folder: Path, *, artifacts: str) -> Settings:
        """Settings of a shop with a fresh, migrated database.

        Args:
            name: of the shop, also of its database and the start of its keys.
            folder: of its files, apart from `NCF_HOME`, where Airflow keeps its own.
            artifacts: the URL of its artifact store.
        """
        home = self.root / "homes" / name
        ensure_database(self.server_url, name, password=_SECRET)
        url = database_url(self._ports["postgres"], role=name, password=_SECRET, database=name)
        home.mkdir(parents=True)
        (folder / "tmp").mkdir(parents=True)
        settings = Settings(
            home=home,
            database_url=SecretStr(url),
            redis_url=SecretStr(self.redis_url),
            artifacts_url=artifacts,
            checkpoints=folder / "checkpoints",
            inbox=folder / "inbox",
            inbox_settle_seconds=0,
            key_prefix=name,
            alerts=SecretStr(self.channel.url(name)),
            holdout_days=14,
            ingest_schedule="off",
            retrain_schedule="off",
            uplift_schedule="off",
            watch_schedule="*/2 * * * *",
            train_budget_minutes=5,
            gate_min_ids_worth=0,
            gate_min_lines=0,
            gate_min_refit_ratio=0,
        )
        migrate(settings)
        return settings

    def open_shop(self, name: str, seed: int) -> Shop:
        """Opens a shop; its first days are not loaded yet."""
        if name == CLOUD:
            s3fs = importlib.import_module("s3fs")
            os.environ.update(self._access())  # for this process, which looks at what is left
            s3fs.S3FileSystem().mkdir("shop")
        folder = self.files / name
        artifacts = "s3://shop" if name == CLOUD else (folder / "artifacts").as_uri()
        settings = self.settings(name, folder, artifacts=artifacts)
        days = synthetic.write_day_files(
            self.root / "days" / name,
            customers=CUSTOMERS, products=PRODUCTS, days=DAYS, seed=2 * seed + (name == CLOUD),
        )  # fmt: skip
        clock = Clock(self.root / f"{name}.clock", self.library)
        launcher = Launcher({**inherited(), **clock.environment}, self.root / "logs" / name)
        shop = Shop(name, settings, self.variables(settings), clock, launcher, days)
        self.shops[name] = shop
        return shop

    def variables(self, settings: Settings) -> dict[str, str]:
        """The environment variables of a shop's commands."""
        variables = {
            "TMPDIR": str(settings.inbox_path.parent / "tmp"),
            "OMP_NUM_THREADS": "1",
            **self._access(),
        }
        for name, described in Settings.model_fields.items():
            value = getattr(settings, name)
            if value != described.default:
                variables[f"NCF_{name.upper()}"] = (
                    value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                )
        return variables

    def _access(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.store_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",  # or else the client itself would outlast a store that is busy for a moment
        }

    @property
    def store_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['store']}"

    def backends(self, shop: str) -> list[int]:
        """The processes of Postgres that serve a shop's connections."""
        with closing(psycopg2.connect(self.server_url, connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute("select pid from pg_stat_activity where datname = %s", (shop,))
            return [pid for (pid,) in cursor.fetchall()]

    def stop(self) -> None:
        self.stopping = True
        for shop in self.shops.values():
            shop.launcher.stop()
        for process in self._processes.values():
            with suppress(psutil.NoSuchProcess):
                server = psutil.Process(process.pid)
                for each in [*server.children(recursive=True), server]:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                server.wait(10)
        for folder in self._mounted:
            for _ in range(50):
                if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
                    break
                time.sleep(0.2)

    def _start_store(self) -> None:
        self._processes["store"] = spawn(
            "the object store",
            [sys.executable, "-m", "chaos.object_store", str(self._ports["store"]), str(self.busy_flag)],
            log=self.root / "logs" / "store.log",
            cwd=self.root,
            env=inherited(),
        )
        import httpx

        for _ in range(300):
            with suppress(httpx.HTTPError):
                httpx.get(self.store_url, trust_env=False)
                return
            time.sleep(0.1)
        raise ServiceError("The object store did not start: see logs/store.log.")

    def _with_clock(self, *arguments: object, **named: object) -> ServerProcess:
        return spawn(*arguments, **{**named, "env": self.redis_clock.environment})  # type: ignore[arg-type]


@contextmanager
def made(*, keep: bool = False) -> Iterator[World]:
    """Makes a world with servers and without shops, and takes it down."""
    root = Path(tempfile.mkdtemp(prefix="ncf-chaos-"))
    root.chmod(0o755)  # Postgres runs as another user
    with Channel() as channel:
        world = World(root, channel)
        try:
            world.start()
            yield world
        finally:
            world.stop()
            if not keep:
                shutil.rmtree(root, ignore_errors=True)


def kill(process: ServerProcess) -> None:
    """Kills a server, and waits until it is dead."""
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(process.pid)
        server.send_signal(signal.SIGKILL)
        server.wait(10)


def _alive(process: ServerProcess | None) -> bool:
    from ncf_pipeline.local.processes import is_alive

    return process is not None and is_alive(process)


def _compiled(root: Path) -> Path | None:
    """The library of `clock.c`; None if there is no C compiler here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = root / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def inherited() -> dict[str, str]:
    """The environment of the world's processes: none of the user's settings, and this package from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NCF_", "AIRFLOW", "AWS_"))}
    folders = [str(Path(folder).resolve()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(folders),
    }
