"""Describes a deployment in words: its resources, versions, differences and costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualDeployment
from cloudbutton_backend.backends.aws_lambda.deployment.planning import drift
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG
from cloudbutton_backend.cost.price_list import storage_prices


@dataclass(frozen=True, kw_only=True)
class StatusRow:
    """One thing that is deployed."""

    name: str
    version: str
    """Of the project that made it."""
    remark: str
    """What is not as it should be; empty when all is well."""


@dataclass(frozen=True, kw_only=True)
class DeploymentStatus:
    """All that is deployed under one prefix in one region."""

    where: str
    rows: tuple[StatusRow, ...]
    stored: str
    """What is in the bucket, and what that costs in a month."""

    @property
    def is_sound(self) -> bool:
        """Whether something is there, and nothing needs repair."""
        return bool(self.rows) and not any(row.remark for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "where": self.where,
            "sound": self.is_sound,
            "stored": self.stored,
            "resources": [vars(row) for row in self.rows],
        }

    def __str__(self) -> str:
        if not self.rows:
            return f"Nothing is deployed {self.where}. `cloudbutton deploy lambda` does it."
        width = max(len(row.name) for row in self.rows)
        lines = [f"Deployed {self.where}:"]
        for row in self.rows:
            lines.append(f"  {row.name:<{width}}  {row.version:<8}  {row.remark or 'ok'}".rstrip())
        if self.stored:
            lines.append(self.stored)
        if not self.is_sound:
            lines.append("`cloudbutton deploy lambda` repairs what is ours and not ok.")
        return "\n".join(lines)


def describe(actual: ActualDeployment) -> DeploymentStatus:
    """Return the status of the actual deployment."""
    home = actual.home
    return DeploymentStatus(
        where=f"under `{home.prefix}` in account {home.account}, region {home.region}",
        rows=tuple(_rows(actual)),
        stored=_stored(actual),
    )


def standing_cost(region: str) -> str:
    """Return what an idle deployment costs."""
    prices = storage_prices(region)
    note = f" ({prices.note})" if prices.note else ""
    return (
        f"Cost while idle: $0.00 a month. Functions, layers, roles and empty buckets are free; what is "
        f"stored costs ${prices.gb_month:.3f} per GB and month{note}, and job data expires by itself."
    )


def _rows(actual: ActualDeployment) -> list[StatusRow]:
    if actual.is_nothing:
        return []
    home, rows = actual.home, []
    for kind, name, there, tags in (
        ("role", home.role, actual.role, actual.role.tags if actual.role else {}),
        ("bucket", home.bucket, actual.bucket, actual.bucket.tags if actual.bucket else {}),
        (
            "log group",
            home.log_group,
            actual.log_group,
            actual.log_group.tags if actual.log_group else {},
        ),
    ):
        remark = "missing" if there is None else "" if TAG in tags else f"has no tag {TAG}"
        rows.append(StatusRow(name=f"{kind} {name}", version=tags.get(TAG, ""), remark=remark))
    for name, function in sorted(actual.functions.items()):
        remark = "is not Cloud Button's"
        if function.is_ours:
            differs = drift(function.target, None, function)
            remark = "; ".join(f"{what}: {change}" for what, change in differs.items())
        rows.append(StatusRow(name=f"function {name}", version=function.version, remark=remark))
    if not actual.functions:
        rows.append(StatusRow(name="functions", version="", remark="missing"))
    rows += [
        StatusRow(name=f"layer {name}", version="", remark="") for name in sorted(actual.layers)
    ]
    return rows


def _stored(actual: ActualDeployment) -> str:
    if actual.stored is None or not actual.stored.objects:
        return ""
    more = "" if actual.stored.complete else "more than "
    month = actual.stored.nbytes / 1e9 * storage_prices(actual.home.region).gb_month
    money = f"${month:.2f}" if month >= 0.005 else "under one cent"
    return (
        f"In the bucket: {more}{actual.stored.objects:,} objects, {more}{actual.stored.nbytes / 1e6:,.1f} MB "
        f"({money} a month while it is there)."
    )
