"""The command line's part for AWS Lambda: deploying, removing, looking, policies, the emulator."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cloudbutton_backend.errors import DeploymentRefused, NoCredentials, Unreachable, UsageError
from cloudbutton_ext.cli import DONE, FAILED

if TYPE_CHECKING:
    from cloudbutton_backend.backends.aws_lambda.aws_errors import Purpose
    from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
    from cloudbutton_backend.backends.aws_lambda.deployment import (
        DeploymentPlan,
        DesiredDeployment,
        PackageSource,
    )
    from cloudbutton_backend.backends.aws_lambda.resource_names import Arch, DeploymentTarget
    from cloudbutton_backend.backends.aws_lambda.runtimes import Platform

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

ARCHS: Final = ("arm64", "x86_64")  # as in aws_lambda.names, which is not loaded for `--help`


def add_commands(commands: Commands) -> None:
    """Add `deploy`, `undeploy`, `status`, `policy` and `emulate` to the command's parsers."""
    deploy = _on_lambda(
        commands, "deploy", "make what jobs on AWS Lambda need, or bring it up to date"
    )
    add_location(deploy)
    add_memory(deploy)
    add_arch(deploy)
    add_consent(deploy)
    deploy.set_defaults(run=with_settings(_deploy))

    undeploy = _on_lambda(commands, "undeploy", "remove everything that deploy has made")
    add_location(undeploy)
    add_consent(undeploy)
    undeploy.set_defaults(run=with_settings(_undeploy))

    status = _on_lambda(
        commands, "status", "what is deployed, by which version, and what has changed"
    )
    add_location(status)
    status.add_argument("--json", action="store_true", help="as JSON, for programs")
    status.set_defaults(run=with_settings(_status))

    policy = _on_lambda(
        commands, "policy", "the permissions that are needed, to give to an administrator"
    )
    policy.add_argument(
        "--for",
        dest="purpose",
        choices=("run", "deploy"),
        default="run",
        help="run jobs (default), or deploy, which includes it",
    )
    policy.add_argument("--account", metavar="NUMBER", help="default: that of your credentials")
    policy.add_argument("--json", action="store_true", help="the policy alone")
    add_location(policy)
    policy.set_defaults(run=with_settings(_policy))

    emulate = commands.add_parser(
        "emulate", help="run an AWS of your own on this machine, for trying out"
    )
    emulate.add_argument("--port", type=int, default=0, help="default: one that is free")
    emulate.set_defaults(run=_emulate)


def _on_lambda(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command that names the platform, of which there is one so far."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("platform", choices=("lambda",), help="where")
    return parser


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add the option for the functions' memory."""
    parser.add_argument(
        "--memory",
        type=int,
        action="append",
        metavar="MIB",
        help="of the functions; repeat it for several sizes (default 1769: one whole vCPU)",
    )


def add_arch(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which processors functions run on."""
    parser.add_argument("--arch", choices=ARCHS, help="default x86_64; arm64 costs a fifth less")


def add_location(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where."""
    parser.add_argument("--region", help="default: that of your AWS configuration")
    parser.add_argument("--prefix", help="what all names begin with (default cloudbutton)")
    parser.add_argument("--profile", help="of your AWS configuration; default: the one in use")


def add_consent(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that ask before they change anything."""
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def with_settings(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Complete a command's options from `[lambda]` in cloudbutton.toml."""

    def run_with_settings(arguments: argparse.Namespace) -> int:
        from cloudbutton_backend.backends import registry
        from cloudbutton_backend.backends.settings_in_files import written

        chosen = {**registry.settings_of("lambda"), **written("lambda")}
        registry.create("lambda", **chosen).close()  # fail early
        for name in ("region", "prefix", "profile", "arch"):
            if getattr(arguments, name, None) is None:
                setattr(arguments, name, chosen[name])
        arguments.memory = getattr(arguments, "memory", None) or [chosen["memory"]]
        return run(arguments)

    return run_with_settings


def _deploy(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.deployment import DesiredDeployment, look_around
    from cloudbutton_backend.backends.aws_lambda.function_archive import version

    clients = _clients(arguments, "deploy")
    home = _target(arguments, clients, arguments.arch)
    asked = [home.with_(memory=memory) for memory in arguments.memory]
    # What is there already is brought up to date with it: one version for all functions.
    there = [each.target for each in look_around(clients, home).functions.values()]
    desired = DesiredDeployment(targets=tuple(dict.fromkeys([*asked, *there])), version=version())
    return _plan_and_deploy(arguments, clients, desired)


def deploy_packages(
    arguments: argparse.Namespace, platform: Platform, packages: PackageSource
) -> int:
    """Make functions that have an environment; return the exit code."""
    from cloudbutton_backend.backends.aws_lambda.deployment import DesiredDeployment
    from cloudbutton_backend.backends.aws_lambda.function_archive import version
    from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget

    clients = _clients(arguments, "deploy")
    targets = tuple(
        DeploymentTarget(
            prefix=arguments.prefix,
            account=clients.account,
            region=clients.region,
            arch=platform.arch,
            python=platform.python,
            memory=memory,
            environment=packages.hash,
        )
        for memory in arguments.memory
    )
    return _plan_and_deploy(
        arguments, clients, DesiredDeployment(targets=targets, version=version(), packages=packages)
    )


def _plan_and_deploy(
    arguments: argparse.Namespace, clients: BotoClients, desired: DesiredDeployment
) -> int:
    """Show what would be made, ask, and make it."""
    from cloudbutton_backend.backends.aws_lambda.deployment import (
        deploy,
        look_for,
        plan_deployment,
        standing_cost,
    )

    home = desired.home
    plan = plan_deployment(desired, look_for(clients, desired.targets))
    if plan.refusals:
        raise DeploymentRefused("\n".join(plan.refusals))
    _show(plan, f"In account {home.account}, region {home.region}:")
    if not plan.steps:
        print("Everything is there and as it should be.")
        return DONE
    print(f"\n{standing_cost(home.region)}")
    if arguments.plan or not _confirmed(arguments, "Go ahead?"):
        return DONE if arguments.plan else FAILED
    with _interruptible():
        deploy(clients, desired, say=_print_step)
    print(f"Deployed. In a notebook: `%cloud use lambda region={home.region}`.")
    return DONE


def _undeploy(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.deployment import (
        look_around,
        plan_removal,
        undeploy,
    )

    clients = _clients(arguments, "deploy")
    home = _target(arguments, clients)
    plan = plan_removal(look_around(clients, home))
    if not plan.steps:
        print(f"Nothing of Cloud Button's is deployed under `{home.prefix}` in {home.region}.")
        return DONE
    _show(plan, f"In account {home.account}, region {home.region}:", kept="not ours, kept")
    if arguments.plan or not _confirmed(
        arguments, "Remove all this? Jobs that run there will fail."
    ):
        return DONE if arguments.plan else FAILED
    with _interruptible():
        undeploy(clients, home, say=_print_step)
    print("Removed.")
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.deployment import describe, look_around

    clients = _clients(arguments, "deploy")
    home = _target(arguments, clients)
    status = describe(look_around(clients, home))
    print(json.dumps(status.as_json(), indent=2) if arguments.json else status)
    return DONE if status.is_sound else FAILED


def _policy(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.deployment import policy
    from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
    from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python

    clients = _clients(arguments, arguments.purpose)
    try:
        account, region = arguments.account or clients.account, clients.region
    except (NoCredentials, Unreachable) as error:
        which = "" if arguments.purpose == "run" else f" --for {arguments.purpose}"
        raise type(error)(
            f"{error}\nThe policy can be printed without any of that, for the account and region that you "
            f"name: `cloudbutton policy lambda{which} --account {arguments.account or '123456789012'} "
            f"--region {arguments.region or 'eu-central-1'}`."
        ) from error
    home = DeploymentTarget(
        prefix=arguments.prefix, account=account, region=region, python=notebook_python()
    )
    text = json.dumps(policy(arguments.purpose, home), indent=2)
    if not arguments.json:
        print(
            f"# What a user needs to {arguments.purpose} in account {home.account}, region {home.region}. An "
            f"administrator makes it a policy in the\n# console (IAM, Policies, Create policy, JSON) and "
            f"attaches that to the user, the group or the permission set.\n"
        )
    print(text)
    return DONE


def _emulate(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.extras import require

    require("emulator")  # which brings what the package below needs, too
    from cloudbutton_backend.backends.aws_lambda.emulator import Emulator

    with Emulator(port=arguments.port) as emulator:
        print("AWS on this machine, until Ctrl-C. To use it from another terminal, set there:\n")
        for name, value in emulator.environment.items():
            print(f"export {name}={value}")
        print("\nthen for instance `cloudbutton deploy lambda --yes`.", flush=True)
        while emulator.is_running:
            time.sleep(0.5)
    print("The emulator has ended by itself.", file=sys.stderr)
    return FAILED


def _clients(arguments: argparse.Namespace, purpose: Purpose) -> BotoClients:
    from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients

    return BotoClients(arguments.region, profile=arguments.profile, purpose=purpose)


def _target(
    arguments: argparse.Namespace, clients: BotoClients, arch: Arch = "x86_64"
) -> DeploymentTarget:
    from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
    from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python, runtime_for

    python = notebook_python()
    runtime_for(python)  # else an error, before anything is asked of AWS
    return DeploymentTarget(
        prefix=arguments.prefix,
        account=clients.account,
        region=clients.region,
        arch=arch,
        python=python,
    )


def _show(plan: DeploymentPlan, title: str, kept: str = "as it should be") -> None:
    print(title)
    lines = [str(step) for step in plan.steps] + [f"keep    {each} ({kept})" for each in plan.kept]
    print("\n".join(f"  {line}" for line in lines))


def _print_step(line: str) -> None:
    print(f"  {line}", flush=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        raise


def _confirmed(arguments: argparse.Namespace, question: str) -> bool:
    """Ask, unless consent was given; without a terminal no one can answer."""
    if arguments.yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "There is no terminal to ask for consent: add `--yes`, or `--plan` to only look."
        )
    return _is_yes(input(f"\n{question} [y/N] "))  # ends: when the user answers


def _is_yes(answer: str) -> bool:
    return answer.strip().lower() in ("y", "yes")
