"""The exact permissions that users need on AWS: to run jobs, and to deploy. Pure."""

from __future__ import annotations

from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.aws_errors import Purpose
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget

_STATEMENTS_VERSION: Final = "2012-10-17"


def policy(purpose: Purpose, home: DeploymentTarget) -> dict[str, Any]:
    """Return the policy for a user who is to `run` jobs, or for one who is to `deploy`.

    The latter includes what `run` needs. Only what carries the prefix of `home` can be touched; a
    resource `*` stands where AWS knows no narrower one.
    """
    statements = _run(home) if purpose == "run" else [*_run(home), *_deploy(home)]
    return {"Version": _STATEMENTS_VERSION, "Statement": statements}


def _run(home: DeploymentTarget) -> list[dict[str, Any]]:
    bucket = home.bucket_arn
    return [
        _allow(
            "CallFunctions",
            ["lambda:GetFunction", "lambda:InvokeFunction", "lambda:ListTags"],
            [_functions(home)],
        ),
        _allow("SeeHowManyMayRun", ["lambda:GetAccountSettings"], ["*"]),
        _allow(
            "UseJobData",
            ["s3:GetObject", "s3:PutObject"],
            [f"{bucket}/jobs/*"],
        ),
        _allow("UseCapturedValues", ["s3:GetObject", "s3:PutObject"], [f"{bucket}/blobs/*"]),
        _allow("ReadPackages", ["s3:GetObject"], [f"{bucket}/environments/*"]),
        # Without it S3 says "denied" of an object that is not there.
        _allow("ListTheBucket", ["s3:ListBucket"], [bucket]),
    ]


def _deploy(home: DeploymentTarget) -> list[dict[str, Any]]:
    bucket, layers = home.bucket_arn, _layers(home)
    pass_role = _allow("GiveTheRoleToLambda", ["iam:PassRole"], [home.role_arn])
    pass_role["Condition"] = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    return [
        _allow(
            "MakeFunctions",
            [
                "lambda:CreateFunction",
                "lambda:DeleteFunction",
                "lambda:TagResource",
                "lambda:UpdateFunctionCode",
                "lambda:UpdateFunctionConfiguration",
            ],
            [_functions(home)],
        ),
        _allow(
            "MakeLayers",
            ["lambda:ListLayerVersions", "lambda:PublishLayerVersion"],
            [layers],
        ),
        _allow(
            "UseLayers",
            ["lambda:DeleteLayerVersion", "lambda:GetLayerVersion"],
            [f"{layers}:*"],
        ),
        _allow("FindThemAgain", ["lambda:ListFunctions", "lambda:ListLayers"], ["*"]),
        _allow(
            "MakeTheRole",
            [
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:GetRole",
                "iam:GetRolePolicy",
                "iam:PutRolePolicy",
                "iam:TagRole",
                "iam:UpdateAssumeRolePolicy",
            ],
            [home.role_arn],
        ),
        pass_role,
        _allow(
            "MakeTheBucket",
            [
                "s3:CreateBucket",
                "s3:DeleteBucket",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetBucketTagging",
                "s3:GetEncryptionConfiguration",
                "s3:GetLifecycleConfiguration",
                "s3:ListBucketMultipartUploads",
                "s3:PutBucketPublicAccessBlock",
                "s3:PutBucketTagging",
                "s3:PutEncryptionConfiguration",
                "s3:PutLifecycleConfiguration",
            ],
            [bucket],
        ),
        _allow(
            "FillAndEmptyIt",
            ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"],
            [f"{bucket}/*"],
        ),
        _allow(
            "MakeTheLog",
            [
                "logs:CreateLogGroup",
                "logs:DeleteLogGroup",
                "logs:ListTagsForResource",
                "logs:PutRetentionPolicy",
                "logs:TagResource",
            ],
            # Some of the actions want the one form, some the other.
            [home.log_group_arn, f"{home.log_group_arn}:*"],
        ),
        _allow("FindTheLog", ["logs:DescribeLogGroups"], ["*"]),
    ]


def _functions(home: DeploymentTarget) -> str:
    return f"{home.function_arn.rpartition(':')[0]}:{home.prefix}-*"


def _layers(home: DeploymentTarget) -> str:
    return f"{home.function_arn.rpartition(':function:')[0]}:layer:{home.prefix}-*"


def _allow(name: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {
        "Sid": name,
        "Effect": "Allow",
        "Action": actions,
        "Resource": resources[0] if len(resources) == 1 else resources,
    }
