"""Servers that a test needs beside it, started on 127.0.0.1 and ended with the tests: PostgreSQL as Debian has it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
needs_postgres = pytest.mark.skipif(not BIN, reason="PostgreSQL is not installed (apt-get install postgresql)")
ADMIN, PASSWORD = "lab", "of-the-tests-alone"


class PostgresServer:
    """A server with a database of its own; `url(user)` is without a password, `environment` has it."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
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


# -- S3 ------------------------------------------------------------------------------------------------------------


KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """An S3-compatible server in this process, with one bucket called lab; it may be stopped and started again.

    All those of a process have the same bucket: each has a place of its own in it.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.start()
        self.client().create_bucket(Bucket="lab")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        return f"s3://lab/{self.port}"

    def client(self):
        import boto3

        names = {"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key"}
        keys = {names[name]: value for name, value in KEYS.items() if name in names}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def keys(self) -> list[str]:
        return [item["Key"] for item in self.client().list_objects_v2(Bucket="lab").get("Contents", ())]
