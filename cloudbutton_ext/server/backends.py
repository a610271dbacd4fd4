"""Backends over HTTP: list them with their settings, check their health, test one."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, Final

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.capabilities import (
    ChecksHealth,
    CostsBySettings,
    DeclaresCost,
    DeclaresSettings,
    HasTitle,
    HealthLine,
)
from cloudbutton_backend.backends.registry import BackendMaker
from cloudbutton_backend.errors import CloudError, MissingExtra, UnknownName
from cloudbutton_backend.session import doctor
from cloudbutton_backend.session.doctor import Finding
from cloudbutton_backend.settings import ResolvedSettings
from cloudbutton_backend.settings.forms import schema_of, schema_of_signature
from cloudbutton_ext.server.handler import Handler, RequestRefused, endpoint

HEALTH_TIMEOUT: Final = 30.0
"""Seconds that looking at a backend's health, and trying it, may take."""
SELFTEST_TIMEOUT: Final = 120.0


class Backends(Handler):
    """`GET backends`."""

    @endpoint
    async def get(self) -> Any:
        return await self.run_in_thread(self._all)

    def _all(self) -> dict[str, Any]:
        resolved = settings.resolve(self.context.settings_sources())
        return {"backends": [describe_backend(name, resolved) for name in registry.names()]}


class Health(Handler):
    """`GET backends/NAME/health`."""

    @endpoint
    async def get(self, name: str) -> Any:
        _require(name)
        own_settings = await self.run_in_thread(self._settings, name)
        # A check under way says nothing about settings that were saved since it began.
        key = ("health", name, frozenset(own_settings.items()))
        poller = self.context.share_task(
            key, lambda: self.context.run_in_own_thread(self._look, name, own_settings)
        )
        try:
            return await asyncio.wait_for(asyncio.shield(poller), HEALTH_TIMEOUT)
        except asyncio.TimeoutError:
            raise RequestRefused(
                f"Looking at the backend {name} took longer than {HEALTH_TIMEOUT:g} s. "
                "Is its service within reach?",
                status=504,
            ) from None

    def _settings(self, name: str) -> Mapping[str, Any]:
        return settings.resolve(self.context.settings_sources()).backends.get(name, {})

    def _look(self, name: str, own_settings: Mapping[str, Any]) -> dict[str, Any]:
        hide = self.context.paths.hide_paths
        lines = [
            {
                "name": found.name,
                "ok": found.status != "problem",
                "status": found.status,
                "detail": hide(f"{found.detail} {found.advice}".strip()),
            }
            for found in health_findings(name, own_settings)
        ]
        return {"ok": all(line["ok"] for line in lines), "lines": lines}


class SelfTest(Handler):
    """`POST backends/NAME/test`."""

    @endpoint
    async def post(self, name: str) -> Any:
        _require(name)
        trying = self.context.share_task(
            ("test", name), lambda: self.context.run_in_own_thread(self._try, name)
        )
        return await asyncio.shield(trying)  # ends by itself; requests meanwhile get the same

    def _try(self, name: str) -> dict[str, Any]:
        answer = run_selftest(
            [sys.executable, "-m", SELFTEST_MODULE, name], patience=SELFTEST_TIMEOUT
        )
        return answer | {"message": self.context.paths.hide_paths(answer["message"])}


SELFTEST_MODULE: Final = "cloudbutton_ext.server.selftest"


def describe_backend(name: str, resolved: ResolvedSettings) -> dict[str, Any]:
    """Return a backend as the panel shows it, also one that cannot be used here."""
    found = {
        "name": name,
        "title": name.capitalize(),
        "description": "",
        "in_use": resolved.backend == name,
        "costs": False,
        "available": False,
        "problem": None,
        "schema": {"type": "object", "properties": {}},
        "settings": {},
    }
    try:
        maker = registry.maker(name)
    except MissingExtra as error:
        return found | {"problem": str(error)}
    except ImportError as error:
        return found | {"problem": f"It needs a package that is not installed: {error}."}
    except Exception as error:  # another author's package, which must not break the list
        return found | {"problem": f"It cannot be loaded: {type(error).__name__}."}
    form = settings_schema(maker)
    return found | {
        "title": maker.title if isinstance(maker, HasTitle) else found["title"],
        "description": summary(maker),
        "costs": costs(maker, resolved.backends.get(name, {})),
        "available": True,
        "schema": form,
        "settings": {
            key: resolved.backends.get(name, {}).get(key, part.get("default"))
            for key, part in form.get("properties", {}).items()
        },
    }


def settings_schema(maker: BackendMaker) -> dict[str, Any]:
    """Return the JSON schema of a backend's settings."""
    if isinstance(maker, DeclaresSettings):
        return schema_of(maker.settings_class)
    return schema_of_signature(maker)


def summary(maker: BackendMaker) -> str:
    """Return the first paragraph of the docstring, as one line."""
    paragraph = (inspect.getdoc(maker) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def costs(maker: BackendMaker, own_settings: Mapping[str, Any]) -> bool:
    """Tell whether work on a backend costs money, made with its `own_settings` settings.

    See `capabilities.CostsBySettings` and `DeclaresCost`.
    """
    if isinstance(maker, CostsBySettings):
        return bool(maker.costs_with(own_settings))
    return isinstance(maker, DeclaresCost) and bool(maker.costs)


def health_findings(name: str, own_settings: Mapping[str, Any]) -> Iterable[Finding]:
    """Return what is found out about a backend's health, made with its `own_settings` settings.

    See `capabilities.ChecksHealth`.
    """
    try:
        with closing(registry.create(name, **own_settings)) as backend:
            if isinstance(backend, ChecksHealth):
                return [
                    Finding(line.name, "ok" if line.is_well else "problem", line.detail)
                    for line in map(HealthLine._make, backend.health())
                ]
            if not backend.limits.is_this_machine:
                return [Finding("backend", "ok", "is there")]
    except (CloudError, ImportError, TypeError) as error:
        return [Finding("backend", "problem", str(error))]
    return doctor.examine(workers=False)


def run_selftest(command: list[str], *, patience: float) -> dict[str, Any]:
    """Run a trial and return its steps; it is ended with all it started when it takes too long."""
    with (
        tempfile.TemporaryFile() as output,  # files, as a pipe stays open while any process holds it
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory() as directory,
    ):
        process = subprocess.Popen(
            command,
            cwd=directory,  # empty: no file of the user's can pass for a module
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait(patience)
        output.seek(0)
        errors.seek(0)
        last_error_line = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return selftest_report(
            output.read(), code=code, patience=patience, last_error_line="".join(last_error_line)
        )


def selftest_report(
    output: bytes, *, code: int | None, patience: float, last_error_line: str = ""
) -> dict[str, Any]:
    """Return what a trial's output says.

    Parameters
    ----------
    code
        The exit code; None when it was ended from here.
    last_error_line
        The last line of its standard error.
    """
    messages = [each for line in output.splitlines() if (each := _message(line))]
    steps = [each for each in messages if "seconds" in each]
    message = next((each["message"] for each in messages if "message" in each), None)
    if code is None:
        done = f"after “{steps[-1]['name']}”" if steps else "before the first step"
        message = f"It was ended after {patience:g} s: nothing more came {done}."
    elif message is None:
        message = f"The test ended with exit code {code}: {last_error_line}".rstrip(": ")
    return {"ok": code == 0, "steps": steps, "message": message}


def _message(line: bytes) -> dict[str, Any]:
    """Return what a line of a trial says; nothing, if a worker printed it or it was cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _require(name: str) -> None:
    if name not in registry.names():
        raise UnknownName("backend", name, registry.names())
