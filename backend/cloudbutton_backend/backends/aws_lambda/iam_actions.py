"""Which permission each request needs: IAM's actions, which are not always called as the requests are."""

from __future__ import annotations

from typing import Final

#: Requests whose action has another name, or that need the one of another request.
_RENAMED: Final = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:AbortMultipartUpload": "s3:AbortMultipartUpload",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPart": "s3:PutObject",
}


def action_of(service: str, operation: str) -> str:
    """Return what a policy must allow for a request, `lambda:CreateFunction` for instance."""
    name = f"{service}:{operation}"
    return _RENAMED.get(name, name)
