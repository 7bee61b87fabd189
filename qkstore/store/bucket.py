"""Runs on S3-compatible storage: fetched whole into a folder of this machine when they are first read, and sent there.

A run file is immutable, so that a copy is good for as long as the bucket names the same content. Both ways go in
pieces, go on where they stopped, are checked by a sha256, and are seen only when they are whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qkstore.errors import RunError, StoreError, near
from qkstore.files import whole
from qkstore.store.arrival import Progress, arrived, digest_of, held, pieces

SCHEME = "s3"
ENDING = ".duckdb"
KNOWN = ".known"  # the folder beside the fetched runs that says what each one is of
SHA = "sha256"  # an object's own label


@dataclass(frozen=True)
class Bucket:
    """Runs under s3://bucket/prefix, and the folder of their copies, whose runs/ a Store reads.

    endpoint: of a server that is not Amazon's. Keys come from where boto3 looks for them: the environment, ~/.aws.
    Raises StoreError, in one line, where the server is away, or refuses.
    """

    url: str
    cache: Path
    endpoint: str | None = None

    def names(self) -> list[str]:
        """The runs that are there, by name."""
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            keys = [item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", ())]
        return sorted(key.removesuffix(ENDING) for key in keys if key.endswith(ENDING) and "/" not in key)

    def file(self, name: str, progress: Progress | None = None) -> Path:
        """The copy of a run on this machine, fetched where it is not there; raises RunError with near names."""
        there = self._there(name)
        if there is None:
            raise RunError(f"no run {name!r} in {self.url}; {near(name, self.names())}")
        path, mark = self._copy(name), _mark(there)
        if self._known(name) == mark:
            return path
        with held(path, name):
            arrived(
                path,
                self._parts(name, mark["bytes"]),
                mark["bytes"],
                there.get("Metadata", {}).get(SHA),
                progress,
                replace=True,
                word=there["ETag"].strip('"'),
            )
            self._know(name, mark)
        return path

    def send(self, path: Path, progress: Progress | None = None) -> None:
        """Put a run file there, under its name, unless it is; raises RunError where another of its name is."""
        name, digest = path.stem, digest_of(path)
        there = self._there(name)
        if there is not None:
            if there.get("Metadata", {}).get(SHA) != digest:
                raise RunError(f"run {name!r} is in {self.url} already, and is another one; rename one of the two")
            return
        with self._told(f"run {name!r} was not sent to {self.url}"):
            upload = self._upload(name, digest)
            parts = self._sent(name, upload, path, progress or (lambda done, total: None))
            self._client.complete_multipart_upload(
                **self._key(name), UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        self._noted(name).unlink(missing_ok=True)

    def same(self, old: str, new: str) -> bool:
        """Whether two runs that are there have the same content."""
        one, other = ((self._there(name) or {}).get("Metadata", {}).get(SHA) for name in (old, new))
        return one is not None and one == other

    def copy(self, old: str, new: str) -> None:
        """Give a run there a second name, and its copy on this machine too; one that has it already is left so."""
        with self._told(f"run {old!r} was not copied to {new!r}"):
            there = self._there(old) or {}
            if not self._there(new):
                more = {"Metadata": there.get("Metadata", {}), "MetadataDirective": "REPLACE"}
                self._client.copy(self._key(old), **self._key(new), ExtraArgs=more)
            made = self._there(new) or {}
        if self._known(old) == _mark(there) and not self._copy(new).exists():
            os.link(self._copy(old), self._copy(new))
            self._know(new, _mark(made))

    def remove(self, name: str) -> None:
        """Remove a run there, and its copy on this machine."""
        with self._told(f"run {name!r} was not removed from {self.url}"):
            self._client.delete_object(**self._key(name))
        for left in (self._copy(name), self._mark_of(name), self._noted(name)):
            left.unlink(missing_ok=True)

    # -- what is there -------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise StoreError("runs on S3 need boto3: pip install 'qkstore[team]'") from None
        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
        return boto3.session.Session().client("s3", endpoint_url=self.endpoint, config=config)

    @property
    def _bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def _prefix(self) -> str:
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{name}{ENDING}"}

    def _there(self, name: str) -> dict | None:
        """What the server says of a run; None where it has none of that name."""
        with self._told():
            try:
                return self._client.head_object(**self._key(name))
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                    return None
                raise

    def _parts(self, name: str, size: int) -> Callable[[int, int], bytes]:
        """(from, to) -> these bytes of the object."""

        def read(start: int, end: int) -> bytes:
            with self._told(f"run {name!r} was not fetched from {self.url}"):
                return self._client.get_object(**self._key(name), Range=f"bytes={start}-{end - 1}")["Body"].read()

        return read

    @contextmanager
    def _told(self, what: str = "") -> Iterator[None]:
        """The server's complaints in one line."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            said = error.response["Error"]
            if said["Code"] in ("PreconditionFailed", "412"):
                raise RunError(f"{what}: another of its name has come there meanwhile") from None
            why = f"{said.get('Message') or said['Code']}".splitlines()[0]
            raise StoreError(f"{what or f'runs in {self.url} cannot be read'}: {why} ({said['Code']})") from None
        except BotoCoreError as error:
            why = str(error).splitlines()[0]
            raise StoreError(f"{what or f'runs in {self.url} cannot be read'}: {why}") from None

    # -- copies of this machine ----------------------------------------------------------------------------------------

    def _copy(self, name: str) -> Path:
        return self.cache / "runs" / f"{name}{ENDING}"

    def _mark_of(self, name: str) -> Path:
        return self.cache / "runs" / KNOWN / f"{name}.json"

    def _known(self, name: str) -> dict | None:
        """What the copy of a run is of; None where there is no copy."""
        mark = self._mark_of(name)
        return json.loads(mark.read_text()) if mark.exists() and self._copy(name).exists() else None

    def _know(self, name: str, mark: dict) -> None:
        self._mark_of(name).parent.mkdir(exist_ok=True)
        with whole(self._mark_of(name)) as part:
            part.write_text(json.dumps(mark))

    # -- an upload that may be interrupted -----------------------------------------------------------------------------

    def _noted(self, name: str) -> Path:
        return self.cache / "runs" / KNOWN / f"{name}.sending.json"

    def _upload(self, name: str, digest: str) -> str:
        """The upload that was begun for this content from here, if the server still knows it; else a new one."""
        note = self._noted(name)
        if note.exists():
            begun = json.loads(note.read_text())
            if begun["sha256"] == digest and self._open(name, begun["upload"]):
                return begun["upload"]
        upload = self._client.create_multipart_upload(**self._key(name), Metadata={SHA: digest})["UploadId"]
        note.parent.mkdir(parents=True, exist_ok=True)
        with whole(note) as part:
            part.write_text(json.dumps({"sha256": digest, "upload": upload}))
        return upload

    def _open(self, name: str, upload: str) -> bool:
        try:
            self._client.list_parts(**self._key(name), UploadId=upload)
        except self._client.exceptions.ClientError:
            return False
        return True

    def _sent(self, name: str, upload: str, path: Path, progress: Progress) -> list[dict]:
        """The parts of an upload, those sent that were missing; each is checked by its MD5 on arrival."""
        pages = self._client.get_paginator("list_parts").paginate(**self._key(name), UploadId=upload)
        there = {part["PartNumber"]: part["ETag"].strip('"') for page in pages for part in page.get("Parts", ())}
        parts, done, total = [], 0, path.stat().st_size
        with open(path, "rb") as file:
            for number, piece in enumerate(pieces(file), start=1):
                checked = hashlib.md5(piece, usedforsecurity=False)
                if there.get(number) != checked.hexdigest():
                    self._client.upload_part(
                        **self._key(name),
                        UploadId=upload,
                        PartNumber=number,
                        Body=piece,
                        ContentMD5=base64.b64encode(checked.digest()).decode(),
                    )
                parts.append({"PartNumber": number, "ETag": f'"{checked.hexdigest()}"'})
                done += len(piece)
                progress(done, total)
        return parts


def _mark(there: dict) -> dict:
    """What tells the content of an object from another's, of what the server says of it."""
    return {"etag": there.get("ETag"), "bytes": there.get("ContentLength")}
