"""Environments are built once of what is installed, kept, deployed, and explained."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment import (
    DesiredDeployment,
    deploy,
    look_around,
    look_for,
    require_deployed,
)
from cloudbutton_backend.backends.aws_lambda.environments import (
    EnvironmentLock,
    build,
    by_hash,
    describe_environment,
    ensure_environment,
    find_built,
    known,
    layer_build,
    lock_distributions,
    prune,
)
from cloudbutton_backend.backends.aws_lambda.environments.wheels import PipResult
from cloudbutton_backend.backends.aws_lambda.function_archive import function_zip
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import Platform
from cloudbutton_backend.errors import NotDeployed, NotPermitted

HERE = Platform.here()
ON_LAMBDA = Platform(python="3.12", arch="arm64", glibc=(2, 34))


# -- building: a real wheel with compiled code (xxhash) and a package that is Python only (joblib)


@pytest.fixture(scope="module")
def lock() -> EnvironmentLock:
    found = lock_distributions(["xxhash", "joblib"], HERE)
    assert found is not None
    return found


def test_an_environment_is_built_of_what_is_installed_and_runs_without_it(
    lock: EnvironmentLock, tmp_path: Path
) -> None:
    built = build(lock)
    with zipfile.ZipFile(built.archive) as archive:
        archive.extractall(tmp_path)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert sum(info.file_size for info in archive.infolist()) == built.unpacked
    function = tmp_path / "function.zip"
    function.write_bytes(function_zip(HERE.python))
    code = (
        f"import sys; sys.path[:0] = [{str(function)!r}, {str(tmp_path / 'python')!r}]\n"
        "import xxhash, joblib; print(xxhash.xxh64_hexdigest(b'x'), joblib.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    import joblib
    import xxhash

    assert done.stdout.split() == [xxhash.xxh64_hexdigest(b"x"), joblib.__version__]
    assert built.as_layer


def test_an_environment_is_built_once_and_the_same_each_time(
    lock: EnvironmentLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(lock)
    assert build(lock, lambda *_: pytest.fail("built again")) == first == find_built(lock)
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path / "home"))
    assert find_built(lock) is None
    assert build(lock).sha256 == first.sha256


def test_a_build_that_was_interrupted_leaves_nothing_that_counts(
    lock: EnvironmentLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path / "home"))

    def interrupted(*_: object) -> PipResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(lock, interrupted)
    assert find_built(lock) is None
    assert [path.name for path in (tmp_path / "home/environments" / lock.hash).iterdir()] == [
        "lock.json"
    ]


def test_environments_are_listed_found_by_their_hash_and_pruned_by_age(
    lock: EnvironmentLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path / "home"))
    built = build(lock)
    assert list(known()) == [(lock, built)]
    assert by_hash(lock.hash[:12]) == lock
    assert prune(keep_days=1) == (0, 0)
    assert prune(keep_days=1, now=built.made + 2 * 86_400) == (1, built.nbytes)
    assert list(known()) == []


def test_an_explanation_names_the_packages_and_whether_they_are_built(
    lock: EnvironmentLock,
) -> None:
    build(lock)
    text = describe_environment(["xxhash", "joblib"], HERE)
    assert "xxhash" in text and "compiled, from a wheel" in text
    assert "Python only, copied from here" in text
    assert lock.hash[:12] in text and "a layer" in text
    assert "no packages needed" in describe_environment([], HERE)


# -- deploying


def test_code_gets_a_function_that_has_its_packages(
    clients: BotoClients, home: DeploymentTarget, lock: EnvironmentLock
) -> None:
    deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))
    said: list[str] = []
    target = ensure_environment(clients, home, lock, say=said.append)
    assert len(said) == 1 and "Preparing 2 packages for" in said[0] and "xxhash" in said[0]
    found = require_deployed(clients, target)
    assert [arn.split(":")[6] for arn in found.layers] == [target.layer]
    assert found.fetches is None
    ensure_environment(clients, home, lock, say=said.append)
    assert len(said) == 1, "it was there already"


def test_one_package_is_not_called_several(clients: BotoClients, home: DeploymentTarget) -> None:
    deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))
    one = lock_distributions(["xxhash"], HERE)
    assert one is not None
    said: list[str] = []
    ensure_environment(clients, home, one, say=said.append)
    assert said[0].startswith("Preparing 1 package for Lambda")


def test_packages_beyond_a_layer_are_fetched_by_functions_with_room_for_them(
    clients: BotoClients,
    home: DeploymentTarget,
    lock: EnvironmentLock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cloudbutton_backend.backends.aws_lambda.environments import deploy_environment

    monkeypatch.setattr(layer_build, "LAYER_LIMIT", 1000)
    deploy_environment(clients, [home], lock)
    target = home.with_(environment=lock.hash)
    found = require_deployed(clients, target)
    built = build(lock)
    assert found.layers == ()
    assert found.fetches == built.sha256
    room = found.settings["EphemeralStorage"]["Size"]
    assert room >= 512 + (built.nbytes + built.unpacked) // 2**20
    assert look_for(clients, [target]).archives == {lock.hash: built.sha256}


def test_functions_fetch_the_archive_that_is_there_whatever_packed_it(
    clients: BotoClients,
    home: DeploymentTarget,
    lock: EnvironmentLock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layer_build, "LAYER_LIMIT", 1000)
    theirs = build(lock).packages
    mine = replace(theirs, sha256="packed by another zlib")
    target = home.with_(environment=lock.hash)
    larger = target.with_(memory=3008)
    deploy(clients, DesiredDeployment(targets=(target,), version="1.2.3", packages=theirs))
    deploy(clients, DesiredDeployment(targets=(target, larger), version="1.2.3", packages=mine))
    for each in (target, larger):
        assert require_deployed(clients, each).fetches == theirs.sha256


def test_packages_alone_deploy_nothing_where_nobody_has_asked_for_it(
    clients: BotoClients, home: DeploymentTarget, lock: EnvironmentLock
) -> None:
    with pytest.raises(NotDeployed, match="is not deployed in"):
        ensure_environment(clients, home, lock)
    assert look_around(clients, home).is_nothing


def test_who_may_not_deploy_is_told_the_command_for_a_user_who_may(
    clients: BotoClients, home: DeploymentTarget, lock: EnvironmentLock
) -> None:
    deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))

    class MayNot:
        def __getattr__(self, name: str) -> object:
            return getattr(clients, name)

        def call(self, service: str, operation: str, **rest: object) -> object:
            if operation == "PublishLayerVersion":
                raise NotPermitted("no", action="lambda:PublishLayerVersion")
            return clients.call(service, operation, **rest)  # type: ignore[arg-type]

    with pytest.raises(
        NotDeployed,
        match=rf"lambda:PublishLayerVersion is missing.*env build --deploy {lock.hash[:12]}",
    ):
        ensure_environment(MayNot(), home, lock)  # type: ignore[arg-type]
