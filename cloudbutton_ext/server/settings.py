"""The user's settings over HTTP: what holds and why, and changing their file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry
from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_backend.settings import ResolvedSettings, SettingsSources
from cloudbutton_backend.settings.known import (
    FIELDS,
    describe_value,
    kind_of,
    read_value,
    show_value,
)
from cloudbutton_backend.settings.sources import FILE_NAME
from cloudbutton_ext.server import arguments, settings_file
from cloudbutton_ext.server.handler import Handler, RequestRefused, endpoint


class SettingsHandler(Handler):
    """`GET settings` and `PUT settings`."""

    @endpoint
    async def get(self) -> Any:
        notebook = arguments.text("notebook", self.argument("notebook"))
        return await self.run_in_thread(self._read, notebook)

    @endpoint
    async def put(self) -> Any:
        notebook = arguments.text("notebook", self.argument("notebook"))
        asked = arguments.json_object(self.request.body)
        return await self.run_in_thread(self._write, asked, notebook)

    def _read(self, notebook: str) -> dict[str, Any]:
        sources = self.context.settings_sources(notebook)
        return {
            "settings": setting_rows(settings.resolve(sources), sources, choices=registry.names())
        }

    def _write(self, asked: dict[str, Any], notebook: str) -> dict[str, Any]:
        values, problems = validate(asked, backends=registry.names())
        if problems:
            raise RequestRefused(
                " ".join(f"`{name}`: {text.rstrip('.')}." for name, text in problems.items()),
                status=400,
                problems=problems,
            )
        sources = self.context.settings_sources(notebook)
        settings_file.write(sources.config_directory / FILE_NAME, values)
        return self._read(notebook)


def validate(
    asked: Mapping[str, Any], *, backends: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values as settings keep them, and what is wrong with those that do not fit."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in asked.items():
        if "." in name:
            values[name] = None if value in (None, "") else value
            problem = problem_of_backend(name, values[name], backends)
            if problem:
                problems[name] = problem
        elif name not in FIELDS:
            problems[name] = "there is no such setting"
        elif value is None:
            values[name] = None
        elif name == "backend" and value not in backends:
            problems[name] = "must be one of " + ", ".join(f"`{each}`" for each in backends)
        else:
            try:
                values[name] = read_value(name, value)
            except ValueError as error:
                problems[name] = f"must be {error}"
            except (TypeError, OverflowError, UsageError):
                problems[name] = "cannot be understood"
    return values, problems


def problem_of_backend(name: str, value: Any, backends: tuple[str, ...]) -> str | None:
    """Return what is wrong with a backend's own setting, such as `lambda.region`; None if it fits."""
    backend, _, setting = name.partition(".")
    if backend not in backends:
        return "there is no such backend"
    try:
        if setting not in registry.settings_of(backend):
            return f"the {backend} backend has no such setting"
        if value is None:
            return None
        if not isinstance(value, (str, int, float)):
            return "must be text, a number, or true or false"
        registry.create(backend, **{setting: value}).close()  # fail early
    except CloudError as error:
        return str(error)
    except (TypeError, AttributeError):
        return "cannot be understood"
    return None


def setting_rows(
    resolved: ResolvedSettings, sources: SettingsSources, *, choices: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return each setting as a form shows it."""
    kinds = {name: kind_of(name) for name in FIELDS}
    kinds["backend"] = kinds["backend"]._replace(form="choice", choices=choices)
    return [
        {
            "name": name,
            "value": getattr(resolved, name),
            "shown": show_value(name, getattr(resolved, name)),
            "source": source(resolved.source(name), sources),
            "description": describe_value(name),
            "type": kind.form,
            "choices": list(kind.choices) or None,
            "default": FIELDS[name].default,
        }
        for name, kind in kinds.items()
    ]


def source(found: str, sources: SettingsSources) -> str:
    """Return where a value was set, without saying where the file is."""
    line = re.search(r", line \d+$", found)
    place = found[: line.start()] if line else found
    if place == str(sources.config_directory / FILE_NAME):
        return f"your settings{line[0] if line else ''}"
    if place == str(sources.directory / FILE_NAME):
        return f"{FILE_NAME} beside the notebook{line[0] if line else ''}"
    return found
