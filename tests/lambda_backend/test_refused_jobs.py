"""What a user may get wrong, or not have: an error before the job that says what to do."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import pytest

from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.aws_lambda import backend as backend_module
from cloudbutton_backend.backends.aws_lambda import bucket
from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.connection import LambdaConnection, connect
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import BackendDown
from cloudbutton_backend.errors import (
    BackendError,
    CloudServiceError,
    NoCredentials,
    NotDeployed,
    UnknownName,
    Unreachable,
    UsageError,
)
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.lambda_backend.conftest import (
    clients_of,
    connector_of,
    new_backend,
    shared_emulator,
)
from tests.lambda_backend.harness import BackendHarness, spec_of, the


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no credentials and no region to be found."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refused(backend: LambdaBackend) -> str:
    """Return the error with which a job is refused."""
    place = TaskPlace(backend)
    try:
        with pytest.raises(NotDeployed) as caught:
            place.start(lambda x: x, [1])
        assert not place.session.jobs()
        return str(caught.value)
    finally:
        place.session.close()


@pytest.mark.usefixtures("nobody")
def test_without_credentials_the_error_says_how_to_log_in_and_how_to_try_without() -> None:
    backend = LambdaBackend(LambdaSettings(region="eu-central-1", workers=2))
    with pytest.raises(NoCredentials, match=r"(?s)aws configure.*--emulate"):
        backend.prepare(spec_of(lambda x: x), set)
    backend.close()


@pytest.mark.usefixtures("nobody")
def test_without_a_region_the_error_says_how_to_name_one() -> None:
    with pytest.raises(Unreachable, match="--region"):
        _ = LambdaBackend(LambdaSettings(workers=2)).limits


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"memory": 64}, UsageError, "between 128 and 10,240"),
        ({"memory": 20_000}, UsageError, "20,000"),
        ({"arch": "arm"}, UnknownName, "arm64"),
        ({"workers": 0}, UsageError, "between 1 and"),
        ({"prefix": "No_Good"}, UsageError, "small letters"),
        ({"regoin": "eu-west-1"}, UnknownName, "Did you mean `region`"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_at_once(
    settings: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        registry.create("lambda", **settings)


def plain(**settings: Any) -> LambdaBackend:
    """Return a backend that deploys nothing by itself, as at AWS."""
    clients = clients_of(shared_emulator())
    return LambdaBackend(LambdaSettings(workers=2, **settings), clients=clients)


def test_where_nothing_is_deployed_the_error_says_how_to_deploy_it() -> None:
    text = refused(plain(memory=512, prefix="elsewhere"))
    assert "cloudbutton deploy lambda" in text
    assert "--memory 512" in text and "--prefix elsewhere" in text and "us-east-1" in text


def test_a_function_of_another_version_is_refused_before_the_job() -> None:
    with BackendHarness(new_backend(shared_emulator(), prefix="older")) as harness:
        harness.open(lambda x: x)
    backend = plain(prefix="older")
    home = connect(backend.settings, clients_of(shared_emulator())).home
    clients_of(shared_emulator()).call(
        "lambda", "UpdateFunctionCode", FunctionName=home.function, ZipFile=_another_zip()
    )
    assert "another version" in refused(backend)


def test_a_function_that_is_none_of_ours_is_recognised_by_its_answer() -> None:
    """It was changed after the look, or lies about its digest."""
    with BackendHarness(new_backend(shared_emulator(), prefix="changed")) as harness:
        spec = harness.open(lambda x: x)
        home = connect(harness.backend.settings, clients_of(shared_emulator())).home
        clients_of(shared_emulator()).call(
            "lambda", "UpdateFunctionCode", FunctionName=home.function, ZipFile=_another_zip()
        )
        assert "another version" in the(BackendDown, harness.run(spec, [1])).cause


def _another_zip() -> bytes:
    from cloudbutton_backend.backends.aws_lambda.function_archive import deterministic_zip

    code = b"def handler(event, context):\n    return {'hello': 1}\n"
    return deterministic_zip(
        {
            "cloudbutton_backend/__init__.py": b"",
            "cloudbutton_backend/worker/__init__.py": b"",
            "cloudbutton_backend/worker/aws_lambda/__init__.py": b"",
            "cloudbutton_backend/worker/aws_lambda/handler.py": code,
        }
    )


def test_a_reserved_concurrency_of_zero_is_named() -> None:
    backend = LambdaBackend(
        LambdaSettings(workers=2, emulate=True, prefix="reserved"),
        connector=connector_of(shared_emulator()),
        patience=1.5,
    )
    place = TaskPlace(backend)
    try:
        assert place.map(lambda x: x, [1]) == [1]
        function = connect(backend.settings, clients_of(shared_emulator())).home.function
        clients_of(shared_emulator()).call(
            "lambda",
            "PutFunctionConcurrency",
            FunctionName=function,
            ReservedConcurrentExecutions=0,
        )
        with pytest.raises(BackendError, match="reserved concurrency is 0"):
            place.map(lambda x: x, [1])
    finally:
        place.session.close()


def test_an_object_that_is_too_large_for_storage_is_refused_with_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket, "MOST", 100_000)
    table = os.urandom(200_000)
    backend = new_backend(shared_emulator())
    try:
        with pytest.raises(CloudServiceError, match=r"0\.2 MB.*at most 0\.1 MB"):
            backend.prepare(spec_of(lambda at: table[at]), set)
    finally:
        backend.close()


def test_a_job_may_ask_for_more_memory_than_the_backend_usually_has() -> None:
    place = TaskPlace(
        LambdaBackend(
            LambdaSettings(workers=2, emulate=True), connector=connector_of(shared_emulator())
        )
    )
    try:

        def size(_: int) -> str:
            return os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]

        assert place.map(size, [0], memory=2048) == ["2048"]
    finally:
        place.session.close()


def test_what_takes_too_long_before_a_job_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend_module, "_PREPARE_WITHIN", 0.05)
    goes_on = threading.Event()

    def never(_: LambdaSettings) -> LambdaConnection:
        goes_on.wait(20)
        raise BackendError("nobody waits for this")

    backend = LambdaBackend(LambdaSettings(emulate=True), connector=never)
    table = os.urandom(200_000)
    spec = spec_of(lambda at: table[at])
    try:
        with pytest.raises(BackendError, match="not ready"):
            backend.prepare(spec, set)
        with pytest.raises(BackendError, match="not ready"):
            backend.put(spec.blobs[0])
    finally:
        backend.close()
        goes_on.set()
    gc.collect()
    assert "pending" not in caplog.text  # what was given up left nothing behind
