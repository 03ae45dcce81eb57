"""The home: where tables, releases and decisions lie, a folder of this machine or a prefix of a bucket on an S3 store.

Belongs here: naming, reading, listing, writing and deleting below a home, so that whoever does so need not know which
of the two it is. Names are relative, with ``/`` between their parts. Does not belong here: what the files mean.

A folder gets each file by a temporary one, a sync and a rename. On an S3 store a file appears whole by itself (one
request, or a multi-part upload that is aborted on error); where two writers may meet, a *conditional* write
(``If-Match`` on the version that was read, ``If-None-Match: *`` where nothing may be there yet) lets one of them win
and tells the other. What needs a disk of this machine (drafts, copies for DuckDB) lies in a working folder.
"""

from __future__ import annotations

import abc
import hashlib
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

import pyarrow.fs as pafs
from filelock import FileLock, Timeout

from ketenpipe.errors import DiskFull, HomeLocked, KetenpipeError, KeyRefused, UpstreamFailed, WrongUse
from ketenpipe.tables.files import (
    append_durably,
    fsync_directory,
    replacing,
    sha256_of_stream,
    write_bytes_atomic,
)

#: A folder that is being made: ``.building-<random>``.
BUILDING = ".building-"
#: How long a folder that never got its last file is left alone: its writer may still be at work.
UNFINISHED_AFTER = timedelta(hours=24)
READ_ONLY = 0o444
_MANGLED = re.compile(r"^s3:(?:/+|$)", re.I)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_KNOWN = ("endpoint_override", "region", "scheme")
#: Answers of an S3 store that mean: not with these credentials.
_REFUSED = frozenset(
    {
        "AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "Forbidden",
        "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "403",
    }
)  # fmt: skip
_GONE = frozenset({"NoSuchKey", "NotFound", "404"})
_OVERTAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_UNKNOWN = frozenset({"MethodNotAllowed", "NotImplemented", "405", "501"})
_NO_ROOM = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})


class Overtaken(KetenpipeError):
    """Somebody else wrote in between: the condition of a write no longer holds, and nothing was written."""


class Changed(KetenpipeError):
    """A file that should never change has other bytes than it had."""


@dataclass(frozen=True)
class Entry:
    """What is known of a file without reading it.

    Attributes:
        size: bytes.
        stamp: moves whenever the file is changed, also in place and where size and time are kept.
        changed: time of the last write.
    """

    size: int
    stamp: tuple[str | int, ...]
    changed: datetime


class Place(abc.ABC):
    """A home, or a part of one."""

    #: Folder of this machine for what needs a disk.
    work: Path

    @property
    @abc.abstractmethod
    def filesystem(self) -> pafs.FileSystem:
        """Where pyarrow reads; see :meth:`key`."""

    @abc.abstractmethod
    def text(self, name: str = "") -> str:
        """How the place, or a file of it, is called in a sentence."""

    def __str__(self) -> str:
        return self.text()

    @abc.abstractmethod
    def key(self, name: str) -> str:
        """The file's path as ``filesystem`` wants it."""

    @abc.abstractmethod
    def path(self, name: str = "") -> Path:
        """The file's path on this machine.

        Raises:
            WrongUse: the place lies on an S3 store.
        """

    @abc.abstractmethod
    def sub(self, name: str) -> Place:
        """A part of the place."""

    @abc.abstractmethod
    def entry(self, name: str) -> Entry | None:
        """What is known of a file; None if it is not there."""

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self.entry(name) is not None

    @abc.abstractmethod
    def look(self, name: str) -> tuple[bytes, str] | None:
        """A file's bytes and their version, for :meth:`put_if`; None if it is not there."""

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: it is not there.
        """
        found = self.look(name)
        if found is None:
            raise FileNotFoundError(2, "No such file", self.text(name))
        return found[0]

    @abc.abstractmethod
    def files(self, folder: str = "") -> list[str]:
        """Names of all files below a folder of the place, however deep, relative to the place, sorted."""

    @abc.abstractmethod
    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder of the place, sorted."""

    @abc.abstractmethod
    def replacing(self, name: str) -> Any:
        """A temporary file of this machine that takes the file's place, whole, when the block ends well.

        Raises:
            DiskFull: no room.
        """

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replace a file; a reader sees the old bytes or the new ones."""

    @abc.abstractmethod
    def put_if(self, name: str, content: bytes, version: str | None) -> None:
        """Replace a file if it still is the version that was read (None: if it is still not there).

        In a folder this holds among those who write within :meth:`exclusively`; on an S3 store among all.

        Raises:
            Overtaken: it is not.
        """

    @abc.abstractmethod
    def append_if(self, name: str, before: bytes, more: bytes, version: str | None) -> None:
        """Add to the end of a file of which ``before`` was read; see :meth:`put_if`."""

    @abc.abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""

    @abc.abstractmethod
    def delete_folder(self, name: str) -> None:
        """Remove a folder with all that is below it."""

    @abc.abstractmethod
    def exclusively(self, name: str, seconds: float, told: str) -> Any:
        """Keep others out who ask for the same name: of all processes in a folder, of this machine on an S3 store.

        Raises:
            HomeLocked: not free within the time, with this sentence.
        """

    @abc.abstractmethod
    def draft(self) -> Path:
        """An empty folder of this machine, in which a folder of the place is made ready."""

    @abc.abstractmethod
    def settle(self, draft: Path, name: str, *, first: str, last: str) -> None:
        """Let a folder that was made ready appear in the place under its name, for good.

        Args:
            draft: see :meth:`draft`; gone afterwards.
            name: of the folder.
            first: the file that claims the name where several files cannot appear at once.
            last: the file without which the folder counts as unfinished there.

        Raises:
            Overtaken: there is one of that name already.
        """

    @abc.abstractmethod
    def unfinished(self, last: str) -> list[str]:
        """Drafts and folders that crashed writers left behind and that nobody can still be writing."""

    @abc.abstractmethod
    def local(self, name: str, sha256: str) -> Path:
        """A path of this machine where a file that never changes can be read; a copy where there is none.

        Raises:
            Changed: the bytes do not have that hash (told of copies only; a file is not read for it).
        """

    def sha256(self, name: str) -> str:
        """SHA-256 of a file.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self.open(name) as source:
            return sha256_of_stream(source)

    @abc.abstractmethod
    def open(self, name: str) -> Any:
        """A file to read from, as a context."""


class LocalPlace(Place):
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.work = self.root

    @property
    def filesystem(self) -> pafs.FileSystem:
        return pafs.LocalFileSystem()

    def text(self, name: str = "") -> str:
        return str(self.root / name)

    def key(self, name: str) -> str:
        return str(self.root / name)

    def path(self, name: str = "") -> Path:
        return self.root / name

    def sub(self, name: str) -> LocalPlace:
        return LocalPlace(self.root / name)

    def entry(self, name: str) -> Entry | None:
        path = self.root / name
        try:
            s = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        # No copying tool sets the time of the last change of anything back.
        stamp = (str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        return Entry(s.st_size, stamp, datetime.fromtimestamp(s.st_mtime, UTC))

    def look(self, name: str) -> tuple[bytes, str] | None:
        try:
            content = (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        return content, hashlib.sha256(content).hexdigest()

    def files(self, folder: str = "") -> list[str]:
        below = (self.root / folder).rglob("*")
        return sorted(p.relative_to(self.root).as_posix() for p in below if not p.is_dir())

    def folders(self, folder: str = "") -> list[str]:
        inside = self.root / folder
        return sorted(p.name for p in inside.iterdir() if p.is_dir()) if inside.is_dir() else []

    def replacing(self, name: str) -> Any:
        return replacing(self.root / name)

    def write(self, name: str, content: bytes) -> None:
        write_bytes_atomic(self.root / name, content)

    def put_if(self, name: str, content: bytes, version: str | None) -> None:
        self._still(name, version)
        self.write(name, content)

    def append_if(self, name: str, before: bytes, more: bytes, version: str | None) -> None:
        self._still(name, version)
        append_durably(self.root / name, more)

    def _still(self, name: str, version: str | None) -> None:
        found = self.look(name)
        if (None if found is None else found[1]) != version:
            raise Overtaken(f"{self.text(name)}: somebody else wrote it in between.")

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        shutil.rmtree(self.root / name)

    @contextmanager
    def exclusively(self, name: str, seconds: float, told: str) -> Iterator[None]:
        lock = FileLock(self.root / name, timeout=seconds)
        try:
            lock.acquire()
        except Timeout as error:
            raise HomeLocked(told) from error
        try:
            yield
        finally:
            lock.release()

    def draft(self) -> Path:
        folder = self.root / f"{BUILDING}{uuid.uuid4().hex}"
        folder.mkdir()
        return folder

    def settle(self, draft: Path, name: str, *, first: str, last: str) -> None:
        if (self.root / name).exists():
            raise Overtaken(f"{self.text(name)}: it is there already.")
        for path in sorted(draft.rglob("*")):
            if path.is_dir():
                fsync_directory(path)
            else:
                path.chmod(READ_ONLY)
        fsync_directory(draft)
        draft.rename(self.root / name)
        fsync_directory(self.root)

    def unfinished(self, last: str) -> list[str]:
        return sorted(p.name for p in self.root.glob(f"{BUILDING}*"))

    def local(self, name: str, sha256: str) -> Path:
        return self.root / name

    def open(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")


class Bucket:
    """A bucket of an S3 store: the client of the AWS library, pyarrow's view of it, and words for what goes wrong.

    Credentials are those of the usual ``AWS_*`` variables, profile files or machine roles, which the AWS library reads
    itself; they are never part of a name.

    Args:
        name: the bucket; it must be there.
        endpoint: the address of a store that is not AWS, as a URL.
        region: the region; without one what the AWS library finds.
    """

    def __init__(self, name: str, endpoint: str | None, region: str | None) -> None:
        self.name, self.endpoint, self.region = name, endpoint, region
        self._seen = False
        self._view: tuple[Any, pafs.FileSystem] | None = None

    @property
    def _at(self) -> str:
        return f" at {self.endpoint}" if self.endpoint else ""

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.session.Session(region_name=self.region)

    @cached_property
    def client(self) -> Any:
        """The client of the AWS library, which conditional writes need.

        Raises:
            WrongUse: the library is not there, or there is no region.
            KeyRefused: no credentials.
        """
        with self.telling(""):
            from botocore.config import Config

            if self._session.get_credentials() is None:
                raise KeyRefused(
                    f"s3://{self.name}: there are no credentials for the S3 store; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY (or a profile, or a role of the machine)"
                )
            config = Config(
                connect_timeout=10,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": "path" if self.endpoint else "auto"},
                # Not every S3 store knows the newer checksums; releases carry hashes of their own.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            region = self._session.region_name or "us-east-1"
            return self._session.client("s3", endpoint_url=self.endpoint, region_name=region, config=config)

    @property
    def filesystem(self) -> pafs.FileSystem:
        """pyarrow's view of the store, with the client's address and its credentials as they are now."""
        client = self.client
        with self.telling(""):
            held = self._session.get_credentials().get_frozen_credentials()
        if self._view is None or self._view[0] != held:
            address = urlsplit(client.meta.endpoint_url)
            aws = address.netloc.endswith((".amazonaws.com", ".amazonaws.com.cn"))
            view = pafs.S3FileSystem(
                access_key=held.access_key,
                secret_key=held.secret_key,
                session_token=held.token,
                region=client.meta.region_name,
                scheme=address.scheme,
                endpoint_override=None if aws else address.netloc,
                connect_timeout=10,
                request_timeout=60,
            )
            self._view = (held, view)
        return self._view[1]

    @contextmanager
    def telling(self, key: str) -> Iterator[None]:
        """Turn what the AWS library raises into one sentence."""
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
        except ImportError as absent:
            raise WrongUse(
                f"s3://{self.name}: a home on an S3 store needs the extra s3; pip install 'ketenpipe[s3]'"
            ) from absent
        try:
            yield
        except ClientError as error:
            raise self._told(key, error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise KeyRefused(
                f"s3://{self.name}: the credentials for the S3 store are not complete ({error})"
            ) from error
        except (BotoCoreError, Boto3Error) as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._told(key, cause) from error
            raise UpstreamFailed(
                f"the S3 store{self._at or ' of AWS'} cannot be reached ({str(error).rstrip('.')})",
                url=f"s3://{self.name}/{key}",
                todo="check the address and the network, and try again",
            ) from error

    def _told(self, key: str, error: Any) -> Exception:
        answer = error.response.get("Error", {})
        code, words = str(answer.get("Code", "")), str(answer.get("Message", "")).rstrip(".")
        where = f"s3://{self.name}/{key}"
        if code == "NoSuchBucket":
            return self._no_bucket()
        if code in _GONE:
            return FileNotFoundError(2, "No such file", where)
        if code in _OVERTAKEN:
            return Overtaken(f"{where}: somebody else wrote it in between.")
        if code in _REFUSED:
            said = f"{code}: {words}" if words else code
            return KeyRefused(
                f"{where}: the S3 store{self._at} does not accept the credentials ({said}); check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and their rights on the bucket"
            )
        if code in _NO_ROOM:
            return DiskFull(f"{where}: the S3 store has no room for it; make room and run again.")
        if code in _UNKNOWN:
            return WrongUse(
                f"{where}: the S3 store{self._at} does not know this request ({code}); conditional writes (If-Match, "
                "If-None-Match) are needed"
            )
        return UpstreamFailed(f"the S3 store{self._at} answered {code} ({words})", url=where)

    def _no_bucket(self) -> WrongUse:
        return WrongUse(f"s3://{self.name}: there is no bucket of that name{self._at}; make it first")

    def is_there(self) -> None:
        """A missing bucket answers a look at a file with the same 404 as a missing file: asked once, for the sentence.

        Raises:
            WrongUse: there is no such bucket.
        """
        if self._seen:
            return
        try:
            with self.telling(""):
                self.client.head_bucket(Bucket=self.name)
        except FileNotFoundError:
            raise self._no_bucket() from None
        self._seen = True


class S3Place(Place):
    """A prefix of a bucket.

    Args:
        bucket: the bucket.
        prefix: without slashes at its ends; may be empty.
        work: folder of this machine for drafts and copies.
    """

    def __init__(self, bucket: Bucket, prefix: str, work: Path) -> None:
        self.bucket, self.prefix, self.work = bucket, prefix, work

    def text(self, name: str = "") -> str:
        return "s3://" + "/".join(part for part in (self.bucket.name, self.prefix, name) if part)

    @property
    def filesystem(self) -> pafs.FileSystem:
        return self.bucket.filesystem

    def key(self, name: str) -> str:
        return f"{self.bucket.name}/{self._key(name)}"

    def path(self, name: str = "") -> Path:
        raise WrongUse(f"{self.text(name)}: it lies on an S3 store and has no path on this machine")

    def sub(self, name: str) -> S3Place:
        return S3Place(self.bucket, self._key(name), self.work / name)

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self.prefix, name) if part)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": self._key(name)}

    def _telling(self, name: str = "") -> Any:
        return self.bucket.telling(self._key(name))

    @property
    def _client(self) -> Any:
        return self.bucket.client

    def entry(self, name: str) -> Entry | None:
        try:
            with self._telling(name):
                head = self._client.head_object(**self._at(name))
        except FileNotFoundError:
            self.bucket.is_there()
            return None
        size = int(head["ContentLength"])
        return Entry(size, (self.text(name), size, str(head["ETag"])), head["LastModified"])

    def look(self, name: str) -> tuple[bytes, str] | None:
        try:
            with self._telling(name):
                found = self._client.get_object(**self._at(name))
                return cast(bytes, found["Body"].read()), str(found["ETag"])
        except FileNotFoundError:
            return None

    def _list(self, folder: str, **more: Any) -> Iterator[dict[str, Any]]:
        prefix = f"{self._key(folder)}/" if self._key(folder) else ""
        with self._telling(folder):
            pages = self._client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.bucket.name, Prefix=prefix, **more)

    def _objects(self, folder: str) -> list[dict[str, Any]]:
        found = [o for page in self._list(folder) for o in page.get("Contents", [])]
        return sorted((o for o in found if not o["Key"].endswith("/")), key=lambda o: str(o["Key"]))

    def files(self, folder: str = "") -> list[str]:
        cut = len(self.prefix) + 1 if self.prefix else 0
        return [o["Key"][cut:] for o in self._objects(folder)]

    def folders(self, folder: str = "") -> list[str]:
        found = [p["Prefix"] for page in self._list(folder, Delimiter="/") for p in page.get("CommonPrefixes", [])]
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in found)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A file of the working folder that is sent when the block ends well: whole, or aborted."""
        aside = self.work / "drafts" / f"{uuid.uuid4().hex}.part"
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(aside) as temporary:
                yield temporary
            self._send(aside, name)
        finally:
            aside.unlink(missing_ok=True)

    def _send(self, path: Path, name: str) -> None:
        with self._telling(name):
            # In parts where it is large; the library aborts the upload if a part fails.
            self._client.upload_file(str(path), self.bucket.name, self._key(name))

    def write(self, name: str, content: bytes) -> None:
        with self._telling(name):
            self._client.put_object(**self._at(name), Body=content)

    def put_if(self, name: str, content: bytes, version: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            with self._telling(name):
                self._client.put_object(**self._at(name), Body=content, **condition)
        except FileNotFoundError as gone:  # a condition on a version, and there is none any more
            self.bucket.is_there()
            raise Overtaken(f"{self.text(name)}: somebody else removed it in between.") from gone
        except Overtaken:
            # An answer that was lost on the way is asked for again, and then meets its own write.
            if self._is(name, content):
                return
            raise

    def _put_new(self, name: str, content: bytes) -> None:
        with self._telling(name):
            self._client.put_object(**self._at(name), Body=content, IfNoneMatch="*")

    def _is(self, name: str, content: bytes) -> bool:
        found = self.look(name)
        return found is not None and found[0] == content

    def append_if(self, name: str, before: bytes, more: bytes, version: str | None) -> None:
        self.put_if(name, before + more, version)

    def delete(self, name: str) -> None:
        with self._telling(name), suppress(FileNotFoundError):
            self._client.delete_object(**self._at(name))

    def delete_folder(self, name: str) -> None:
        for one in self.files(name):
            self.delete(one)

    @contextmanager
    def exclusively(self, name: str, seconds: float, told: str) -> Iterator[None]:
        self.work.mkdir(parents=True, exist_ok=True)
        with LocalPlace(self.work).exclusively(name, seconds, told):
            yield

    def draft(self) -> Path:
        folder = self.work / f"{BUILDING}{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        return folder

    def settle(self, draft: Path, name: str, *, first: str, last: str) -> None:
        """Send the files one by one: the first claims the name, and only with the last the folder counts.

        Raises:
            Overtaken: another writer claimed the name, or removed files meanwhile; nothing is left of this one.
        """
        target = self.sub(name)
        sent = sorted(p.relative_to(draft).as_posix() for p in draft.rglob("*") if p.is_file())
        target._put_new(first, (draft / first).read_bytes())
        try:
            for one in sent:
                if one not in (first, last):
                    target._send(draft / one, one)
            there = {o["Key"].removeprefix(f"{target.prefix}/"): int(o["Size"]) for o in target._objects("")}
            if there != {one: (draft / one).stat().st_size for one in sent if one != last}:
                raise Overtaken(f"{target.text()}: somebody else changed it while it was written.")
            target._put_new(last, (draft / last).read_bytes())
        except BaseException:
            # What cannot be removed now is swept a day later.
            with suppress(KetenpipeError, OSError):
                self.delete_folder(name)
            raise
        shutil.rmtree(draft)

    def unfinished(self, last: str) -> list[str]:
        """Folders without their last file that were not written to for a day. Drafts of this machine are removed."""
        for left in self.work.glob(f"{BUILDING}*"):
            shutil.rmtree(left)
        old = datetime.now(UTC) - UNFINISHED_AFTER
        newest: dict[str, datetime] = {}
        whole = set()
        cut = len(self.prefix) + 1 if self.prefix else 0
        for found in self._objects(""):
            folder, _, rest = found["Key"][cut:].partition("/")
            if rest:
                newest[folder] = max(newest.get(folder, found["LastModified"]), found["LastModified"])
                if rest == last:
                    whole.add(folder)
        return sorted(folder for folder, changed in newest.items() if folder not in whole and changed < old)

    def local(self, name: str, sha256: str) -> Path:
        path = self.work / name
        if path.exists():
            with path.open("rb") as held:
                if sha256_of_stream(held) == sha256:
                    return path
        with replacing(path) as temporary:
            with self._telling(name):
                self._client.download_file(self.bucket.name, self._key(name), str(temporary))
            with temporary.open("rb") as came:
                found = sha256_of_stream(came)
            if found != sha256:
                raise Changed(f"{self.text(name)}: its SHA-256 is {found[:12]}..., not {sha256[:12]}...")
        return path

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with self._telling(name):
            body = self._client.get_object(**self._at(name))["Body"]
            try:
                yield body
            finally:
                body.close()


#: A home as it may be named: a path, ``s3://bucket/prefix``, or the place itself.
AnyHome = Place | Path | str


def is_remote(home: AnyHome) -> bool:
    """Whether the home lies on an S3 store."""
    return isinstance(home, S3Place) or (not isinstance(home, Place) and _MANGLED.match(str(home)) is not None)


def place_of(home: AnyHome, work: Path | None = None) -> Place:
    """The place that a home names.

    Args:
        home: a folder, or ``s3://bucket/prefix?endpoint_override=host:port&scheme=http&region=eu-west-1`` (everything
            after the bucket may be left out). A path that swallowed one of the two slashes is understood.
        work: of an S3 home, the folder of this machine for what needs a disk (default: :func:`default_work`).

    Raises:
        WrongUse: an S3 address that cannot be taken as given.
    """
    if isinstance(home, Place):
        return home
    if not is_remote(home):
        return LocalPlace(Path(home))
    address = _MANGLED.sub("s3://", str(home))
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise WrongUse("a home on an S3 store is named without credentials; set AWS_ACCESS_KEY_ID and the like")
    if parts.fragment or not _BUCKET.fullmatch(parts.netloc):
        raise WrongUse(f"'{address}' names no bucket; a home on an S3 store is named s3://bucket/prefix")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if strange := sorted(set(options) - set(_KNOWN)):
        raise WrongUse(f"'{address}' has the option {strange[0]}; an S3 home takes {', '.join(_KNOWN)}")
    scheme, endpoint = options.get("scheme", "https"), options.get("endpoint_override")
    if scheme not in ("http", "https"):
        raise WrongUse(f"'{address}' has the scheme '{scheme}'; take http or https")
    if endpoint is not None:
        # A path swallows a slash of an address, too.
        endpoint = re.sub(r"^(https?):/+", r"\1://", endpoint).rstrip("/")
        endpoint = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    prefix = "/".join(part for part in parts.path.split("/") if part)
    if ".." in prefix.split("/"):
        raise WrongUse(f"'{address}' has '..' in its prefix; name the prefix itself")
    bucket = Bucket(parts.netloc, endpoint, options.get("region"))
    return S3Place(bucket, prefix, default_work(address) if work is None else Path(work))


def default_work(address: str) -> Path:
    """The working folder of an S3 home where none is set: in the user's cache folder, one per address."""
    bare = address.partition("?")[0].removeprefix("s3://").strip("/")
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    return Path.home() / ".cache" / "ketenpipe" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', bare)}-{digest}"


def shared_place(home: Path | str, work: Path | str | None = None) -> Place:
    """The place that a home names, the same one each time: a process needs one client of a store, which takes time to
    make.

    Args:
        home, work: see :func:`place_of`.
    """
    return _shared(str(home), None if work is None else str(work))


@lru_cache(maxsize=8)
def _shared(home: str, work: str | None) -> Place:
    return place_of(home, None if work is None else Path(work))
