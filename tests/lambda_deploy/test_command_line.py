"""The command's part for AWS: it shows, asks, does, and says what to type next."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients, configured_endpoints
from cloudbutton_backend.backends.aws_lambda.deployment import look_around
from cloudbutton_backend.backends.aws_lambda.emulator import Emulator
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_ext.cli import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def cloudbutton(
    emulator: Emulator,
    home: DeploymentTarget,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Run the command on the emulated account, with this test's prefix where it takes one."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Answer:
        try:
            code = main.main([*arguments, "--prefix", home.prefix])
        except SystemExit as end:  # argparse ends the process itself
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


def test_a_plan_is_shown_with_its_cost_and_nothing_is_made(
    cloudbutton: Command, clients: BotoClients, home: DeploymentTarget
) -> None:
    answer = cloudbutton("deploy", "lambda", "--plan", "--memory", "1769", "--memory", "3008")
    assert answer.code == 0
    assert [line.split()[1] for line in answer.out.splitlines() if " create " in line] == [
        "role", "bucket", "log", "function", "function",
    ]  # fmt: skip
    assert "Cost while idle: $0.00 a month" in answer.out
    assert look_around(clients, home).is_nothing


def test_without_a_terminal_nothing_is_done_unless_yes_is_said(
    cloudbutton: Command, clients: BotoClients, home: DeploymentTarget
) -> None:
    answer = cloudbutton("deploy", "lambda")
    assert answer.code == 2
    assert "add `--yes`" in answer.err
    assert look_around(clients, home).is_nothing


def test_a_deployment_from_beginning_to_end(
    cloudbutton: Command, clients: BotoClients, home: DeploymentTarget
) -> None:
    assert "Nothing is deployed" in cloudbutton("status", "lambda").out
    assert "%cloud use lambda" in cloudbutton("deploy", "lambda", "--yes").out
    assert "as it should be" in cloudbutton("deploy", "lambda", "--yes").out
    status = cloudbutton("status", "lambda", "--json")
    assert status.code == 0
    assert json.loads(status.out)["sound"]
    assert "function" in cloudbutton("undeploy", "lambda", "--plan").out
    assert cloudbutton("undeploy", "lambda", "--yes").out.endswith("Removed.\n")
    assert look_around(clients, home).is_nothing
    assert "Nothing of Cloud Button's" in cloudbutton("undeploy", "lambda", "--yes").out


def test_deploying_brings_functions_along_that_are_there_already(
    cloudbutton: Command, home: DeploymentTarget
) -> None:
    cloudbutton("deploy", "lambda", "--yes", "--memory", "3008")
    assert (
        f"keep    function {home.with_(memory=3008).function}"
        in cloudbutton("deploy", "lambda", "--yes").out
    )


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cloudbutton.toml"


def test_options_that_are_left_out_are_as_the_file_says(
    emulator: Emulator,
    clients: BotoClients,
    home: DeploymentTarget,
    settings_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in emulator.environment.items():
        if "REGION" not in name:
            monkeypatch.setenv(name, value)
    settings_file.write_text(
        f'[lambda]\nregion = "{emulator.region}"\nprefix = "{home.prefix}"\n'
        'memory = 3008\narch = "arm64"\n'
    )
    assert main.main(["deploy", "lambda", "--plan"]) == 0
    wanted = home.with_(arch="arm64", memory=3008)
    assert f"function {wanted.function}" in capsys.readouterr().out
    assert main.main(["deploy", "lambda", "--plan", "--memory", "512", "--arch", "x86_64"]) == 0
    wanted = home.with_(arch="x86_64", memory=512)
    shown = capsys.readouterr().out
    assert f"function {wanted.function}" in shown and "3008" not in shown
    assert main.main(["policy", "lambda"]) == 0
    assert f"region {emulator.region}" in capsys.readouterr().out
    main.main(["status", "lambda"])
    assert "Nothing is deployed" in capsys.readouterr().out
    assert main.main(["undeploy", "lambda", "--yes"]) == 0
    assert f"under `{home.prefix}`" in capsys.readouterr().out
    assert look_around(clients, home).is_nothing


@pytest.mark.parametrize("verb", ["deploy", "undeploy", "status", "policy"])
def test_a_mistake_in_the_file_s_table_is_named(
    verb: str, cloudbutton: Command, settings_file: Path
) -> None:
    settings_file.write_text("[lambda]\nmemroy = 512\n")
    answer = cloudbutton(verb, "lambda")
    assert answer.code == 2
    assert "line 2" in answer.err and "Did you mean `memory`" in answer.err


def test_a_policy_can_be_printed_alone_and_without_credentials(
    cloudbutton: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = cloudbutton("policy", "lambda", "--for", "deploy")
    assert explained.out.startswith("# What a user needs to deploy")
    assert "Create policy" in explained.out  # one inline in a user would be too large
    alone = cloudbutton("policy", "lambda", "--json", "--account", "999999999999")
    assert "999999999999" in json.dumps(json.loads(alone.out))


@pytest.mark.usefixtures("without_configuration")
def test_without_credentials_it_says_how_to_print_a_policy_without_any(
    settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["policy", "lambda", "--for", "deploy"]
    assert main.main([*asked, "--region", "eu-west-1"]) == 1
    told = capsys.readouterr().err
    assert "No AWS credentials were found" in told
    assert f"`cloudbutton {' '.join(asked)} --account 123456789012 --region eu-west-1`" in told
    assert main.main([*asked, "--account", "999999999999"]) == 1
    told = capsys.readouterr().err
    assert "No AWS region is chosen" in told
    assert "--account 999999999999 --region eu-central-1`" in told
    assert main.main([*asked, "--account", "123456789012", "--region", "eu-west-1"]) == 0
    assert "account 123456789012, region eu-west-1" in capsys.readouterr().out


def test_packages_are_built_deployed_and_listed(
    cloudbutton: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = cloudbutton("env", "build", "--here", "xxhash", "--deploy", "--yes")
    assert answer.code == 0
    assert "as a layer" in answer.out and "create  layer" in answer.out
    name = answer.out.split()[1].rstrip(",")
    assert main.main(["env", "list"]) == 0
    assert name in capsys.readouterr().out
    assert main.main(["env", "build", name, "--lock"]) == 0
    assert json.loads(capsys.readouterr().out)["pins"][0]["name"] == "xxhash"


def test_a_lock_file_of_another_user_can_be_built(cloudbutton: Command, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(cloudbutton("env", "build", "--here", "xxhash", "--lock").out)
    assert "xxhash" in cloudbutton("env", "build", str(lock)).out


def test_consent_is_asked_for_at_a_terminal_and_no_is_no(
    emulator: Emulator, clients: BotoClients, home: DeploymentTarget
) -> None:
    manager, terminal = pty.openpty()
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudbutton_ext.cli.main", "deploy", "lambda", "--prefix", home.prefix],
        env={**os.environ, **emulator.environment, "PYTHONPATH": paths},
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(manager, 1000)
    os.write(manager, b"n\n")
    assert process.wait(30) == 1
    os.close(manager)
    assert look_around(clients, home).is_nothing


@pytest.mark.parametrize(
    ("environment", "endpoints"),
    [
        ({}, {}),
        ({"AWS_ENDPOINT_URL_S3": "http://s"}, {"s3": "http://s"}),
        ({"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://l"}, {"logs": "http://l"}),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_IAM": "http://i"},
            {
                "lambda": "http://a",
                "s3": "http://a",
                "sts": "http://a",
                "logs": "http://a",
                "iam": "http://i",
            },
        ),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {}),
    ],
)
def test_endpoints_are_where_the_variables_of_other_aws_tools_say(
    environment: dict[str, str], endpoints: dict[str, str]
) -> None:
    assert configured_endpoints(environment) == endpoints
