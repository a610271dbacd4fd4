"""The steps of a deployment as values: what each says to the user, and its requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["create", "update", "delete"]


@dataclass(frozen=True, kw_only=True)
class AwsRequest:
    """One request to AWS."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """A `DeferredValue` or `FileContent` in it is filled in when the request is made."""
    gives: tuple[str, str] | None = None
    """A name for one field of the answer, which a `DeferredValue` refers to."""
    then_ready: str = ""
    """The function that must be ready before anything goes on."""


@dataclass(frozen=True)
class DeferredValue:
    """A value that an earlier request's answer will give."""

    name: str


@dataclass(frozen=True)
class FileContent:
    """The contents of a file, sent without reading it all at once."""

    path: Path


@dataclass(frozen=True)
class EmptyBucket:
    """All objects in a bucket, and all uploads that were not completed, deleted."""

    bucket: str


@dataclass(frozen=True, kw_only=True)
class DeploymentStep:
    """One thing that is made, changed or removed."""

    kind: Kind
    what: str
    """`bucket cloudbutton-123456789012-eu-central-1`"""
    detail: str = ""
    actions: tuple[AwsRequest | EmptyBucket, ...]
    """Each may have been done before: the step was begun and not finished."""

    def __str__(self) -> str:
        return f"{self.kind:<6}  {self.what}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """The steps to take, or the reasons why none can be taken."""

    steps: tuple[DeploymentStep, ...]
    refusals: tuple[str, ...] = ()
    """Obstacles, with the advice for each; with any, nothing is done."""
    kept: tuple[str, ...] = ()
    """What needs no change, or is not ours to change."""
