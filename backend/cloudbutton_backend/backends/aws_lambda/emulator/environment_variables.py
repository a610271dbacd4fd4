"""Environment variables of execution environments, and those that lead a client here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

from cloudbutton_backend.backends.aws_lambda.emulator.function_store import FunctionVersion

USER_KEY: Final = "AKIAEMULATEDUSER0000"
SERVICE_KEY: Final = "AKIAEMULATEDLAMBDA00"
_ROLE_KEYS: Final = "ASIA"
"""How access keys of a role begin, at AWS and here."""


def principal_of(access_key: str) -> str:
    """Return the principal of a key: the user, code that runs with a function's role, or Lambda."""
    if access_key == SERVICE_KEY:
        return "service"
    return "role" if access_key.startswith(_ROLE_KEYS) else "user"


def variables_of(function: FunctionVersion, endpoints: Mapping[str, str]) -> dict[str, str]:
    """Return what Lambda puts into the environment of a function's code, beside its paths.

    The endpoints of the other emulated services are the one addition: code in Lambda needs none.
    """
    digest = base64.b32encode(hashlib.sha256(function.role.encode()).digest()).decode()
    return {
        "AWS_ACCESS_KEY_ID": _ROLE_KEYS + digest[:16],
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"2026/11/20/[{function.version}]{digest[:32].lower()}",
        "AWS_REGION": function.region,
        "AWS_SECRET_ACCESS_KEY": digest[:40],
        "AWS_SESSION_TOKEN": digest,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": function.handler,
        **_endpoint_variables(endpoints),
    }


def _endpoint_variables(endpoints: Mapping[str, str]) -> dict[str, str]:
    # Named by what AWS calls the service in full, which is not always what its endpoint is called.
    full_names = {"logs": "CLOUDWATCH_LOGS"}
    return {
        f"AWS_ENDPOINT_URL_{full_names.get(name, name.upper())}": url
        for name, url in endpoints.items()
    }


def client_variables(endpoints: Mapping[str, str], region: str) -> dict[str, str]:
    """Return what makes boto3 and the AWS command line talk to the emulator only."""
    return {
        "AWS_ACCESS_KEY_ID": USER_KEY,
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        **_endpoint_variables(endpoints),
    }
