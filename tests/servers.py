"""Servers that a test needs beside it, started on 127.0.0.1 and ended with the tests: PostgreSQL as Debian has it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ADMIN, PASSWORD = "lab", "of-the-tests-alone"


def has_postgres() -> bool:
    return bool(BIN)


class PostgresServer:
    """A server with a database of its own; `url(user)` is without a password, `environment` has it."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, _free_port()
        self.environment = {"PGPASSWORD": PASSWORD}
        self._run("initdb", "-D", folder / "data", "-U", ADMIN, "-A", "scram-sha-256", "--pwfile", self._password())
        self.start()

    def url(self, user: str = ADMIN, database: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", settings, "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", how, "stop")

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple]:
        """The rows of the last statement, run by the server's owner."""
        import psycopg

        with psycopg.connect(self.url(database=database), password=PASSWORD, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _password(self) -> Path:
        file = self.folder / "password"
        file.write_text(PASSWORD)
        return file

    def _run(self, program: str, *arguments: object) -> None:
        """As a user who may run a server: root may not."""
        as_user = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        done = subprocess.run(
            [BIN[-1] / program, *map(str, arguments)],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **as_user,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server in a folder that its user may enter."""
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/qkstore-pg-XXXXXX"], text=True).strip())
    server = PostgresServer(folder)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
