"""What is deployed, in words: what is there, by which version, how it differs, what it costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudbutton_backend.backends.aws_lambda.deployment.actual import Found
from cloudbutton_backend.backends.aws_lambda.deployment.planning import drift
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG
from cloudbutton_backend.cost.price_list import storage_prices


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is deployed."""

    name: str
    version: str
    """Of the project that made it."""
    remark: str
    """What is not as it should be; empty when all is well."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """All that is deployed under one prefix in one region."""

    where: str
    rows: tuple[Row, ...]
    stored: str
    """What is in the bucket, and what that costs in a month."""

    @property
    def is_sound(self) -> bool:
        """Whether something is there, and nothing needs mending."""
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
            lines.append("`cloudbutton deploy lambda` mends what is ours and not ok.")
        return "\n".join(lines)


def describe(found: Found) -> Status:
    """Return what is there in words."""
    home = found.home
    return Status(
        where=f"under `{home.prefix}` in account {home.account}, region {home.region}",
        rows=tuple(_rows(found)),
        stored=_stored(found),
    )


def standing_cost(region: str) -> str:
    """Return what a deployment costs while nobody uses it."""
    prices = storage_prices(region)
    note = f" ({prices.note})" if prices.note else ""
    return (
        f"Cost while idle: $0.00 a month. Functions, layers, roles and empty buckets are free; what is "
        f"stored costs ${prices.gb_month:.3f} per GB and month{note}, and job data expires by itself."
    )


def _rows(found: Found) -> list[Row]:
    if found.is_nothing:
        return []
    home, rows = found.home, []
    for kind, name, there, tags in (
        ("role", home.role, found.role, found.role.tags if found.role else {}),
        ("bucket", home.bucket, found.bucket, found.bucket.tags if found.bucket else {}),
        (
            "log group",
            home.log_group,
            found.log_group,
            found.log_group.tags if found.log_group else {},
        ),
    ):
        remark = "missing" if there is None else "" if TAG in tags else f"has no tag {TAG}"
        rows.append(Row(name=f"{kind} {name}", version=tags.get(TAG, ""), remark=remark))
    for name, function in sorted(found.functions.items()):
        remark = "is not Cloud Button's"
        if function.is_ours:
            differs = drift(function.target, None, function)
            remark = "; ".join(f"{what}: {change}" for what, change in differs.items())
        rows.append(Row(name=f"function {name}", version=function.version, remark=remark))
    if not found.functions:
        rows.append(Row(name="functions", version="", remark="missing"))
    rows += [Row(name=f"layer {name}", version="", remark="") for name in sorted(found.layers)]
    return rows


def _stored(found: Found) -> str:
    if found.stored is None or not found.stored.objects:
        return ""
    more = "" if found.stored.complete else "more than "
    month = found.stored.nbytes / 1e9 * storage_prices(found.home.region).gb_month
    money = f"${month:.2f}" if month >= 0.005 else "under one cent"
    return (
        f"In the bucket: {more}{found.stored.objects:,} objects, {more}{found.stored.nbytes / 1e6:,.1f} MB "
        f"({money} a month while it is there)."
    )
