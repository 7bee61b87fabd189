"""Objects of an S3-compatible server under s3://bucket/prefix: read by ranges, sent in pieces, copied and removed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from qkstore.errors import QKStoreError, RunError, StoreError
from qkstore.files import whole
from qkstore.store.arrival import Progress, Read, pieces

SHA = "sha256"  # an object's own label
ABSENT = ("404", "NoSuchKey")
TAKEN = ("PreconditionFailed", "412")  # there is another one
TRIES = 3  # to read an answer


class Found(NamedTuple):
    """What the server says of an object. etag: another for another content; sha256: None where it was not sent so."""

    etag: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Objects:
    """What lies under a URL, by keys relative to it.

    endpoint: of a server that is not Amazon's. Keys to it come from where boto3 looks for them: the environment,
    ~/.aws. Raises StoreError, in one line, where the server is away, or refuses.
    """

    url: str
    endpoint: str | None = None

    def listed(self, below: str = "", for_s: float | None = None) -> list[str]:
        """The keys that begin with `below`, sorted. for_s: those alone that have been there for so long."""
        until = datetime.now(UTC) - timedelta(seconds=for_s) if for_s is not None else datetime.max.replace(tzinfo=UTC)
        with self.told():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{below}"
            )
            found = [item for page in pages for item in page.get("Contents", ()) if item["LastModified"] <= until]
        return sorted(item["Key"].removeprefix(self._prefix) for item in found)

    def found(self, key: str) -> Found | None:
        """What the server says of an object; None where there is none."""
        with self.told():
            try:
                said = self.client.head_object(**self.at(key))
            except self.client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in ABSENT:
                    return None
                raise
        return Found(said["ETag"], said["ContentLength"], said.get("Metadata", {}).get(SHA))

    def reader(self, key: str, etag: str, what: str) -> Read:
        """(from, to) -> these bytes of an object, as long as it is the one of this ETag; `what`: its name in errors."""

        def read(start: int, end: int) -> bytes:
            failed = f"{what} was not fetched from {self.url}"
            with self.told(failed, StoreError):
                found, of = self._body(self.at(key) | {"Range": f"bytes={start}-{end - 1}", "IfMatch": etag})
            if of != etag:  # from a server that knows no conditions
                raise StoreError(f"{failed}: another of its name has come there meanwhile")
            if len(found) != end - start:
                raise StoreError(f"{failed}: of {end - start:,} bytes that were asked for, {len(found):,} came")
            return found

        return read

    def put(self, key: str, path: Path, digest: str, note: Path, what: str, progress: Progress) -> None:
        """Send a file, those pieces that are not there yet of an upload that the note remembers.

        Raises RunError where there is an object of that key, which is never replaced.
        """
        with self.told(f"{what} was not sent to {self.url}"):
            upload = self._upload(key, digest, note)
            parts = self._sent(key, upload, path, progress)
            try:
                self.client.complete_multipart_upload(
                    **self.at(key), UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            except self.client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in TAKEN:
                    self.give_up(key, note)
                raise
        note.unlink(missing_ok=True)

    def give_up(self, key: str, note: Path) -> None:
        """End an upload that the note remembers, of which the server would keep the pieces."""
        if note.exists():
            with self.told(), suppress(self.client.exceptions.ClientError):  # it has ended, or is of another key
                self.client.abort_multipart_upload(**self.at(key), UploadId=json.loads(note.read_text())["upload"])
            note.unlink(missing_ok=True)

    def copy(self, old: str, new: str, what: str) -> None:
        """Give an object a second key, with its label; one that has it already is left so."""
        with self.told(f"{what} was not copied in {self.url}"):
            one, other = self.found(old), self.found(new)
            if one and (other is None or other.sha256 != one.sha256):
                more = {"Metadata": {SHA: one.sha256} if one.sha256 else {}, "MetadataDirective": "REPLACE"}
                self.client.copy(self.at(old), **self.at(new), ExtraArgs=more)

    def remove(self, key: str, what: str) -> None:
        with self.told(f"{what} was not removed from {self.url}"):
            self.client.delete_object(**self.at(key))

    @cached_property
    def client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise StoreError("runs on S3 need boto3: pip install 'qkstore[team]'") from None
        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
        return boto3.session.Session().client("s3", endpoint_url=self.endpoint, config=config)

    def at(self, key: str) -> dict[str, str]:
        """A key as boto3 wants it."""
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{key}"}

    @contextmanager
    def told(self, what: str = "", another: type[QKStoreError] = RunError) -> Iterator[None]:
        """The server's complaints in one line. another: the error where an object is not the one that was meant."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            said = error.response["Error"]
            if said["Code"] in TAKEN:
                raise another(f"{what}: another of its name has come there meanwhile") from None
            why = f"{said.get('Message') or said['Code']}".splitlines()[0]
            raise StoreError(f"{what or f'runs in {self.url} cannot be read'}: {why} ({said['Code']})") from None
        except BotoCoreError as error:
            why = str(error).splitlines()[0]
            raise StoreError(f"{what or f'runs in {self.url} cannot be read'}: {why}") from None

    @property
    def _bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def _prefix(self) -> str:
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""

    def _body(self, asked: dict) -> tuple[bytes, str]:
        """The bytes of an answer, and of which object; asked anew where the line breaks, which boto3 does not do."""
        from botocore.exceptions import BotoCoreError

        for left in reversed(range(TRIES)):
            answer = self.client.get_object(**asked)
            try:
                return answer["Body"].read(), answer["ETag"]
            except BotoCoreError:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    # -- an upload that may be interrupted -----------------------------------------------------------------------------

    def _upload(self, key: str, digest: str, note: Path) -> str:
        """The upload that was begun for this content from here, if the server still knows it; else a new one."""
        if note.exists():
            begun = json.loads(note.read_text())
            if begun["sha256"] == digest and self._open(key, begun["upload"]):
                return begun["upload"]
        upload = self.client.create_multipart_upload(**self.at(key), Metadata={SHA: digest})["UploadId"]
        note.parent.mkdir(parents=True, exist_ok=True)
        with whole(note) as part:
            part.write_text(json.dumps({"sha256": digest, "upload": upload}))
        return upload

    def _open(self, key: str, upload: str) -> bool:
        try:
            self.client.list_parts(**self.at(key), UploadId=upload)
        except self.client.exceptions.ClientError:
            return False
        return True

    def _sent(self, key: str, upload: str, path: Path, progress: Progress) -> list[dict]:
        """The parts of an upload, those sent that were missing; each is checked by its MD5 on arrival."""
        pages = self.client.get_paginator("list_parts").paginate(**self.at(key), UploadId=upload)
        there = {part["PartNumber"]: part["ETag"].strip('"') for page in pages for part in page.get("Parts", ())}
        parts, done, total = [], 0, path.stat().st_size
        with open(path, "rb") as file:
            for number, piece in enumerate(pieces(file), start=1):
                checked = hashlib.md5(piece, usedforsecurity=False)
                if there.get(number) != checked.hexdigest():
                    self.client.upload_part(
                        **self.at(key),
                        UploadId=upload,
                        PartNumber=number,
                        Body=piece,
                        ContentMD5=base64.b64encode(checked.digest()).decode(),
                    )
                parts.append({"PartNumber": number, "ETag": f'"{checked.hexdigest()}"'})
                done += len(piece)
                progress(done, total)
        return parts
