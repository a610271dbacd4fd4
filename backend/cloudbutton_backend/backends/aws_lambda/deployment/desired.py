"""The desired deployment, as the values that are sent to AWS. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.function_archive import (
    HANDLER,
    code_sha256,
    function_zip,
)
from cloudbutton_backend.backends.aws_lambda.resource_names import (
    TAG,
    DeploymentTarget,
    environment_key,
)
from cloudbutton_backend.backends.aws_lambda.runtimes import runtime_identifier

LONGEST_CALL: Final = 900
"""Seconds: the longest that Lambda allows. Calls end by their lease long before."""
JOB_DAYS: Final = 7
"""Until the data of a job expires, counted from when it was written."""
BLOB_DAYS: Final = 30
"""Until a captured value expires. One that is needed again is sent again."""
LOG_DAYS: Final = 14
FREE_STORAGE: Final = 512
"""MiB of /tmp that cost nothing."""
MOST_STORAGE: Final = 10_240

FETCHED_TAG: Final = "cloudbutton:fetches"
"""On functions that fetch their packages when they start: the SHA-256 of the archive."""
DIGEST: Final = "sha256"
"""The object metadata of an archive that say what it must be."""
ROLE_POLICY: Final = "write-logs"


@dataclass(frozen=True, kw_only=True)
class PackageSource:
    """An environment that functions are to have, as it was built here."""

    hash: str
    archive: Path
    nbytes: int
    unpacked: int
    sha256: str
    """Of the archive, which shows that a download is complete."""
    as_layer: bool
    """Whether it fits into a layer; else functions fetch it when they start."""

    @property
    def storage(self) -> int:
        """MiB of /tmp that a function needs for it and 512 for the user."""
        if self.as_layer:
            return FREE_STORAGE
        needed = FREE_STORAGE + -(-(self.unpacked + self.nbytes) // 2**20)
        return min(needed, MOST_STORAGE)


@dataclass(frozen=True, kw_only=True)
class DesiredDeployment:
    """The functions to have, and with that everything they need."""

    targets: tuple[DeploymentTarget, ...]
    """Of one prefix, account and region."""
    version: str
    """Of this project: what is deployed says which one made it."""
    packages: PackageSource | None = None
    """Of the targets that name an environment."""

    @property
    def home(self) -> DeploymentTarget:
        """Any of the targets: bucket, role and log group are the same for all."""
        return self.targets[0]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of every resource that can carry some."""
        return {TAG: self.version}

    def tags_of(self, target: DeploymentTarget, stored: str | None) -> dict[str, str]:
        """Return the tags of a function: for one that fetches its packages, what they must be.

        `stored` is the SHA-256 of the archive in the bucket, if there is one. It may have been built by
        another user, whose zlib has compressed the same files differently.
        """
        packages = self.packages
        if packages is None or packages.as_layer or target.environment != packages.hash:
            return self.tags
        return {**self.tags, FETCHED_TAG: stored or packages.sha256}


def function_settings(target: DeploymentTarget, packages: PackageSource | None) -> dict[str, Any]:
    """Return a function's configuration, but for its layers, as requests take it."""
    settings: dict[str, Any] = {
        "Runtime": runtime_identifier(target.python),
        "Handler": HANDLER,
        "Role": target.role_arn,
        "MemorySize": target.memory,
        "Timeout": LONGEST_CALL,
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": target.log_group},
    }
    if target.environment is None:
        settings["EphemeralStorage"] = {"Size": FREE_STORAGE}
    elif packages is not None and packages.hash == target.environment:
        settings["EphemeralStorage"] = {"Size": packages.storage}
    return (
        settings  # the size of an environment that was not built here is unknown, and left as it is
    )


def function_code(target: DeploymentTarget) -> tuple[bytes, str]:
    """Return a function's archive and its digest."""
    archive = function_zip(target.python)
    return archive, code_sha256(archive)


def archive_key(packages: PackageSource) -> str:
    """Return where in the bucket an environment's archive is kept."""
    return environment_key(packages.hash)


def trust_policy() -> dict[str, Any]:
    """Return the trust policy of the execution role: only Lambda may use it."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def role_policy(target: DeploymentTarget) -> dict[str, Any]:
    """Return what the user's code on Lambda may do in the account: write its log.

    It reads and writes job data through presigned URLs, which the notebook makes, so a function can
    reach the objects of the job it runs and nothing else.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": f"{target.log_group_arn}:*",
            }
        ],
    }


def lifecycle_rules() -> list[dict[str, Any]]:
    """Return the bucket's rules: what expires when."""
    return [
        _expiry("cloudbutton-jobs", "jobs/", JOB_DAYS),
        _expiry("cloudbutton-blobs", "blobs/", BLOB_DAYS),
        {
            "ID": "cloudbutton-uploads",
            "Filter": {"Prefix": ""},
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]


def public_access_block() -> dict[str, bool]:
    """Return the bucket's settings that keep everything in it private."""
    return {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }


def encryption() -> dict[str, Any]:
    """Return how the bucket encrypts what it is given: with keys that S3 keeps."""
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


def as_json(document: Mapping[str, Any]) -> str:
    """Return a policy as requests take it."""
    return json.dumps(document, sort_keys=True)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as IAM and S3 take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _expiry(name: str, prefix: str, days: int) -> dict[str, Any]:
    return {
        "ID": name,
        "Filter": {"Prefix": prefix},
        "Status": "Enabled",
        "Expiration": {"Days": days},
    }
