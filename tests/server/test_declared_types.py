"""What the server answers has the types that JupyterLab's part declares in `api/types.ts`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.journal import ErrorRecord, Journal, LogRecord

from .conftest import Ask, Panel, a_job

SOURCE = Path(__file__).parents[2] / "labextension" / "src" / "api" / "types.ts"


class Types:
    """The declarations of a TypeScript file, as far as they describe JSON."""

    def __init__(self, source: str) -> None:
        self._declared: dict[str, str] = {}
        plain = re.sub(r"/\*.*?\*/|//[^\n]*|\breadonly\b", "", source, flags=re.S)
        for name, base, body in re.findall(
            r"^export interface (\w+)(?: extends (\w+))? (\{.*?^\})", plain, re.M | re.S
        ):
            self._declared[name] = f"{base} & {body}" if base else body
        self._declared |= dict(re.findall(r"^export type (\w+) =(.*?);\n\n", plain, re.M | re.S))

    def objection(self, value: Any, name: str, where: str = "") -> str:
        """Return where `value` differs from the type of that name, empty if nowhere."""
        where = where or name
        base, both, own = self._declared[name].partition(" & ")
        if both:
            inherited = self._fields(self._declared[base]) | self._fields(own)
            return self._of_object(value, inherited, where)
        return self._of(value, self._declared[name], where)

    def _of(self, value: Any, kind: str, where: str) -> str:
        kind = kind.strip().lstrip("|").strip()
        parts = _split(kind, "|")
        if len(parts) > 1:
            found = [self._of(value, part, where) for part in parts]
            return "" if "" in found else "; or ".join(found)
        if kind.endswith("[]"):
            if not isinstance(value, list):
                return f"{where} is no list: {value!r}"
            found = [self._of(each, kind[:-2], f"{where}[]") for each in value]
            return next(filter(None, found), "")
        if kind.startswith("{"):
            return self._of_object(value, self._fields(kind), where)
        if match := re.fullmatch(r"Readonly<(.*)>", kind, re.S):
            return self._of(value, match[1], where)
        if match := re.fullmatch(r"Record<string, (\w+)>", kind):
            if not isinstance(value, dict):
                return f"{where} is no object: {value!r}"
            found = [self._of(each, match[1], f"{where}.{key}") for key, each in value.items()]
            return next(filter(None, found), "")
        if kind in self._declared:
            return self.objection(value, kind, where)
        if kind[0] == "'":
            return "" if value == kind.strip("'") else f"{where} is not {kind}: {value!r}"
        return "" if PLAIN[kind](value) else f"{where} is no {kind}: {value!r}"

    def _of_object(self, value: Any, fields: dict[str, str], where: str) -> str:
        if not isinstance(value, dict):
            return f"{where} is no object: {value!r}"
        needed = {name for name in fields if not name.endswith("?")}
        known = {name.rstrip("?"): kind for name, kind in fields.items()}
        if lacking := needed - value.keys():
            return f"{where} lacks {sorted(lacking)}"
        if unknown := value.keys() - known.keys():
            return f"{where} has {sorted(unknown)}, which are not declared"
        found = [self._of(each, known[name], f"{where}.{name}") for name, each in value.items()]
        return next(filter(None, found), "")

    def _fields(self, kind: str) -> dict[str, str]:
        inside = kind.strip()[1:-1]
        pairs = (part.partition(":") for part in _split(inside, ";") if part.strip())
        return {name.strip(): of.strip() for name, _, of in pairs}


def _split(text: str, separator: str) -> list[str]:
    """Split at what stands in no brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "{<[") - (character in "}>]")
        if character == separator and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


PLAIN: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "unknown": lambda value: True,
}

TYPES = Types(SOURCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"expected": 1.0, "low": 0.5, "high": 2}, ""),
        ({"expected": None, "low": 0.5, "high": 2}, "IInterval.expected is no number: None"),
        ({"expected": 1.0, "low": 0.5}, "IInterval lacks ['high']"),
        ({"expected": 1, "low": 0, "high": 2, "by": ""}, "IInterval has ['by'], which are not declared"),
    ],
)  # fmt: skip
def test_what_differs_is_found(value: Any, said: str) -> None:
    assert TYPES.objection(value, "IInterval") == said


@pytest.fixture
def _jobs(journal: Journal) -> None:
    """One job with everything, and one of which nothing is known yet."""
    now = time.time()
    row = a_job(
        created=now - 9, cell_id="c1", notebook="a.ipynb", source="%%cloud\nf(x)", estimate=0.1,
        estimate_low=0.05, estimate_high=0.2, estimate_seconds=8.0, estimate_seconds_low=6.0,
        estimate_seconds_high=11.0, estimate_basis="2 items", seed=1, options={"budget": 0.5},
    )  # fmt: skip
    journal.add_job(row)
    journal.update_job(
        row.id, started=now - 9, done=3, failed=1, workers=2, task_seconds=8.0, spend=0.1
    )
    journal.add_batch(BatchRecord(row.id, 1, "w", 0, 4, now - 8, now - 1, "done"))
    journal.add_error(ErrorRecord(row.id, 3, "item 3", "ValueError", "no", "Traceback …"))
    journal.add_log(LogRecord(row.id, "hello\n", 3))
    journal.add_job(a_job("bcde3456", n_items=None, created=now))
    assert journal.flush(10)


ANSWERS = {
    "jobs": ("jobs", "IJobs"),
    "a job": ("jobs/abcd2345", "IJobDetails"),
    "a job that has just begun": ("jobs/bcde3456", "IJobDetails"),
    "batches": ("jobs/abcd2345/batches", "IBatches"),
    "no batches": ("jobs/bcde3456/batches", "IBatches"),
    "errors": ("jobs/abcd2345/errors", "IErrors"),
    "spending": ("spend", "ISpend"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.usefixtures("_jobs")
def test_an_answer_has_the_declared_type(ask: Ask, case: str) -> None:
    path, name = ANSWERS[case]
    status, body = ask(path)
    assert (status, TYPES.objection(body, name)) == (200, "")


@pytest.mark.usefixtures("_jobs")
def test_printed_pieces_have_the_declared_type(ask: Ask) -> None:
    pieces = ask("jobs/abcd2345/log").body["pieces"]
    assert pieces
    assert [TYPES.objection(piece, "ILogPiece") for piece in pieces] == [""] * len(pieces)


def test_backends_and_their_health_have_the_declared_type(ask: Ask) -> None:
    backends = ask("backends").body["backends"]
    assert {TYPES.objection(each, "IBackend") for each in backends} == {""}
    health = ask("backends/local/health").body
    assert TYPES.objection(health, "IHealth") == ""


@pytest.mark.usefixtures("_jobs")
def test_messages_of_the_websocket_have_the_declared_type(
    connect: Callable[..., Panel],
) -> None:
    panel = connect()
    assert TYPES.objection(panel.next("jobs"), "IChange") == ""
    panel.send({"type": "watch", "job": "abcd2345"})
    assert TYPES.objection(panel.next("job"), "IChange") == ""
    panel.send("nonsense")
    assert TYPES.objection(panel.next("error"), "IChange") == ""
