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
    HasSettingsForm,
    HasTitle,
    HealthLine,
)
from cloudbutton_backend.backends.registry import BackendMaker
from cloudbutton_backend.errors import CloudError, MissingExtra, UnknownName
from cloudbutton_backend.session import doctor
from cloudbutton_backend.session.doctor import Finding
from cloudbutton_backend.settings import ResolvedSettings
from cloudbutton_backend.settings.forms import schema_of_signature
from cloudbutton_ext.server.handler import Handler, RequestRefused, endpoint

#: Seconds that looking at a backend's health, and trying it, may take.
HEALTH_PATIENCE: Final = 30.0
TRIAL_PATIENCE: Final = 120.0


class Backends(Handler):
    """`GET backends`."""

    @endpoint
    async def get(self) -> Any:
        return await self.off_loop(self._all)

    def _all(self) -> dict[str, Any]:
        resolved = settings.resolve(self.context.settings_sources())
        return {"backends": [described(name, resolved) for name in registry.names()]}


class Health(Handler):
    """`GET backends/NAME/health`."""

    @endpoint
    async def get(self, name: str) -> Any:
        _require(name)
        own = await self.off_loop(self._settings, name)
        # A look that is under way tells nothing of settings that were saved since it began.
        key = ("health", name, frozenset(own.items()))
        poller = self.context.once(key, lambda: self.context.apart(self._look, name, own))
        try:
            return await asyncio.wait_for(asyncio.shield(poller), HEALTH_PATIENCE)
        except asyncio.TimeoutError:
            raise RequestRefused(
                f"Looking at the backend {name} took longer than {HEALTH_PATIENCE:g} s. "
                "Is its service within reach?",
                status=504,
            ) from None

    def _settings(self, name: str) -> Mapping[str, Any]:
        return settings.resolve(self.context.settings_sources()).backends.get(name, {})

    def _look(self, name: str, own: Mapping[str, Any]) -> dict[str, Any]:
        hide = self.context.places.hide
        lines = [
            {
                "name": found.name,
                "ok": found.status != "problem",
                "status": found.status,
                "detail": hide(f"{found.detail} {found.advice}".strip()),
            }
            for found in findings(name, own)
        ]
        return {"ok": all(line["ok"] for line in lines), "lines": lines}


class SelfTest(Handler):
    """`POST backends/NAME/test`."""

    @endpoint
    async def post(self, name: str) -> Any:
        _require(name)
        trying = self.context.once(("test", name), lambda: self.context.apart(self._try, name))
        return await asyncio.shield(trying)  # ends by itself; whoever asks meanwhile gets the same

    def _try(self, name: str) -> dict[str, Any]:
        answer = try_in_a_process([sys.executable, "-m", TRIAL, name], patience=TRIAL_PATIENCE)
        return answer | {"message": self.context.places.hide(answer["message"])}


TRIAL: Final = "cloudbutton_ext.server.selftest"


def described(name: str, resolved: ResolvedSettings) -> dict[str, Any]:
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
    except Exception as error:  # somebody else's package, which must not break the list
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
    """Return the JSON schema of a backend's settings: its own `settings_schema()`, or a derived one."""
    if isinstance(maker, HasSettingsForm):
        return dict(maker.settings_schema())
    return schema_of_signature(maker)


def summary(maker: BackendMaker) -> str:
    """Return the first paragraph of the docstring, as one line."""
    paragraph = (inspect.getdoc(maker) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def costs(maker: BackendMaker, own: Mapping[str, Any]) -> bool:
    """Tell whether work on a backend costs money, made with its `own` settings.

    See `capabilities.CostsBySettings` and `DeclaresCost`.
    """
    if isinstance(maker, CostsBySettings):
        return bool(maker.costs_with(own))
    return isinstance(maker, DeclaresCost) and bool(maker.costs)


def findings(name: str, own: Mapping[str, Any]) -> Iterable[Finding]:
    """Return what is found out about a backend's health, made with its `own` settings.

    See `capabilities.ChecksHealth`.
    """
    try:
        with closing(registry.create(name, **own)) as backend:
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


def try_in_a_process(command: list[str], *, patience: float) -> dict[str, Any]:
    """Run a trial and return its steps; it is ended with all it started when it takes too long."""
    with (
        tempfile.TemporaryFile() as output,  # files, as a pipe stays open while anybody holds it
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
        last_words = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return trial_report(
            output.read(), code=code, patience=patience, last_words="".join(last_words)
        )


def trial_report(
    output: bytes, *, code: int | None, patience: float, last_words: str = ""
) -> dict[str, Any]:
    """Return what a trial's output says.

    Parameters
    ----------
    code
        The exit code; None when it was ended from here.
    last_words
        The last line of its standard error.
    """
    said = [each for line in output.splitlines() if (each := _message(line))]
    steps = [each for each in said if "seconds" in each]
    message = next((each["message"] for each in said if "message" in each), None)
    if code is None:
        done = f"after “{steps[-1]['name']}”" if steps else "before the first step"
        message = f"It was ended after {patience:g} s: nothing more came {done}."
    elif message is None:
        message = f"The test ended with exit code {code}: {last_words}".rstrip(": ")
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
