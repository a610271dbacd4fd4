"""The drivers of this process: one for each backend and its settings, made when first needed and kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.backends.settings_in_files import written
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.errors import UsageError

_Key = tuple[str, tuple[tuple[str, Any], ...]]


class Drivers:
    """Finds the driver of a backend as the settings have it now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drivers: dict[_Key, Driver] = {}
        self._used: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<Drivers of {', '.join(sorted({name for name, _ in self._drivers})) or 'nothing'}>"

    def use(self, name: str, **chosen: Any) -> None:
        """Give a backend settings that hold for this process, over those in files.

        Raises
        ------
        UsageError
            If there is no such backend, or a setting of it makes no sense; nothing is changed then.
        """
        registry.create(name, **{**written(name), **chosen}).close()  # fail early
        with self._lock:
            self._used[name] = chosen
            idle = [
                key for key, driver in self._drivers.items() if key[0] == name and driver.is_idle
            ]
            retired = [self._drivers.pop(key) for key in idle if key != _key(name, chosen)]
        # Those of the old settings that are at work go on until they are done.
        for driver in retired:
            driver.close()

    @property
    def used(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings given to `use`, by the name of the backend."""
        with self._lock:
            return {name: dict(chosen) for name, chosen in self._used.items()}

    def of(self, name: str) -> Driver:
        """Return the driver of a backend."""
        chosen = {**written(name), **self._used.get(name, {})}
        key = _key(name, chosen)
        with self._lock:
            driver = self._drivers.get(key)
            if driver is None or driver.broken:
                driver = self._drivers[key] = Driver(_create(name, chosen))
            return driver

    def add(self, backend: Backend) -> None:
        """Make `of` its name return a driver of this backend, as long as no settings are chosen for it."""
        with self._lock:
            self._drivers[_key(backend.name, {})] = Driver(backend)

    def all(self) -> list[Driver]:
        """Return those that have been made."""
        with self._lock:
            return list(self._drivers.values())

    def close(self) -> None:
        """End all of them. Safe to repeat."""
        with self._lock:
            drivers = list(self._drivers.values())
            self._drivers.clear()
        for driver in drivers:
            driver.close()


def _key(name: str, chosen: Mapping[str, Any]) -> _Key:
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in chosen.items()
    }
    return name, tuple(sorted(values.items()))


def _create(name: str, chosen: Mapping[str, Any]) -> Backend:
    try:
        return registry.create(name, **chosen)
    except TypeError as error:  # what a file has is not checked before
        raise UsageError(f"The {name} backend does not take its settings: {error}.") from error
