"""Connections to AWS: whom they trust, what they say, and how many of them there may be."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloudbutton_backend.backends.aws_lambda import bucket as bucket_module
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket
from cloudbutton_backend.backends.aws_lambda.http import NotSent, SignedHttpClient
from cloudbutton_backend.backends.aws_lambda.signing import Endpoint
from cloudbutton_backend.errors import Unreachable

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


def certificate(folder: Path) -> Path:
    """Return a file with a new key and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a proxy of one's own")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Fine(BaseHTTPRequestHandler):
    """Answers that all is well."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.headers)
        self.send_response(503 if len(server.asked) <= server.refusals else 200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"fine")

    def log_message(self, *_: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """A server that says nothing of those who do not trust it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Fine)
        self.asked: list[Any] = []
        self.refusals = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[Path, Endpoint]]:
    """Return a certificate, and a server that has it."""
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = Quiet()
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield path, Endpoint("s3", "eu-west-1", "https", server.address)
    server.shutdown()
    server.server_close()


async def asked(endpoint: Endpoint) -> bytes:
    web = SignedHttpClient(BotoClients("eu-west-1", {}, environment=CREDENTIALS), {"s3": endpoint})
    try:
        return (await web.send("s3", "GET", "x", timeout=10)).body
    finally:
        await web.close()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
async def test_whom_the_client_library_trusts_is_trusted(
    encrypted: tuple[Path, Endpoint], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path, endpoint = encrypted
    for each in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, str(path))
    assert await asked(endpoint) == b"fine"


async def test_a_server_that_nobody_vouches_for_is_sent_nothing(
    encrypted: tuple[Path, Endpoint],
) -> None:
    with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
        await asked(encrypted[1])


@pytest.fixture
def plain() -> Iterator[Quiet]:
    server = Quiet()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


async def got(server: Quiet, patience: float = 60.0) -> bytes:
    endpoint = Endpoint("s3", "eu-west-1", "http", server.address)
    web = SignedHttpClient(BotoClients("eu-west-1", {}, environment=CREDENTIALS), {"s3": endpoint})
    try:
        return await Bucket(web, "ours", "eu-west-1", "123456789012", patience).get("x")
    finally:
        await web.close()


@pytest.mark.parametrize("patience", [0.0, 0.5])
async def test_storage_that_refuses_everything_is_given_up_when_patience_ends(
    plain: Quiet, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(bucket_module, "delay", lambda *_: 0.001)
    plain.refusals = 1_000_000
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"in \d+ attempts: HTTP 503"):
        await got(plain, patience)
    assert time.monotonic() - begin >= patience and len(plain.asked) >= 3


async def test_storage_may_be_out_of_reach_for_as_long_as_functions_may(
    plain: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "delay", lambda *_: 0.001)
    plain.refusals = 30
    assert await got(plain) == b"fine"


async def test_requests_to_storage_say_whose_the_bucket_must_be(plain: Quiet) -> None:
    await got(plain)
    (headers,) = plain.asked
    assert headers["x-amz-expected-bucket-owner"] == "123456789012"
    assert "x-amz-expected-bucket-owner" in headers["authorization"]


@pytest.mark.parametrize(
    ("soft", "hard", "calls", "room", "then"),
    [
        pytest.param(256, 4096, 1000, 1000, 2256, id="as macOS begins: the limit is raised"),
        pytest.param(1024, 4096, 100, 100, 1024, id="enough as it is: left alone"),
        pytest.param(1024, 1024, 1000, 384, 1024, id="fixed: fewer at a time, the others wait"),
        pytest.param(64, 64, 1000, 16, 64, id="hardly any: half of them are left to others"),
    ],
)
def test_calls_leave_the_process_enough_descriptors(
    soft: int, hard: int, calls: int, room: int, then: int
) -> None:
    program = (
        "import resource\n"
        "from cloudbutton_backend.backends.aws_lambda.http import connection_limit\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"print(connection_limit({calls}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == [str(room), str(then)], done.stderr
