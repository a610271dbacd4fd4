"""Runs an executor's calls, each item being one; and whatever needs an initializer before it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final


class PushedCall:
    """A function and its arguments."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __reduce__(self) -> Any:
        return PushedCall, (self.function, self.args, self.kwargs)

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"{getattr(self.function, '__name__', self.function)}({', '.join(shown)})"


def run_call(call: PushedCall | None) -> Any:
    """Run a call; None stands for one that was cancelled before it was sent."""
    if call is not None:
        return call.function(*call.args, **call.kwargs)
    return None


class Spread:
    """Calls a function with a tuple's elements as its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        return self.function(*arguments)


class AuthKey:
    """The authentication key of `multiprocessing`'s managers; loading it makes it the worker's."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __reduce__(self) -> Any:
        return use_authkey, (self._key,)

    def __repr__(self) -> str:
        return "AuthKey(…)"


def use_authkey(key: bytes) -> AuthKey:
    """Allow this process to reach the managers of the one whose key it is."""
    import multiprocessing

    multiprocessing.current_process().authkey = key
    return AuthKey(key)


def run_trusted(_key: AuthKey, function: Callable[[Any], Any], item: Any) -> Any:
    """Run `function`; the key was loaded before it, and so before any item."""
    return function(item)


class InitializerFailed(Exception):
    """The initializer raised in a worker: nothing can run there. Its exception is the cause."""


_ABSENT: Final = object()


class Initialised:
    """A function that runs in each worker after an initializer, which runs there once.

    An initializer leaves what it prepares in its module's globals, for others to find. Where the
    code travels by value, a function that is sent later has globals of its own; it is given
    what the initializer has set.
    """

    def __init__(
        self, function: Callable[[Any], Any], initializer: Callable[..., Any], initargs: Any
    ) -> None:
        self._function, self._initializer, self._initargs = function, initializer, initargs
        self._set: dict[str, Any] | None = None
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def shown_item(self, item: Any) -> Any:
        """Return what the user calls this item."""
        shown = getattr(self._function, "shown_item", None)
        return item if shown is None else shown(item)

    def __call__(self, item: Any) -> Any:
        if self._set is None:
            self._set = self._initialise()
        if self._set and isinstance(item, PushedCall):
            self._hand_on(item.function, self._set)
        return self._function(item)

    def _initialise(self) -> dict[str, Any]:
        """Run the initializer; return the globals that it has set."""
        spaces = list(_namespaces(self._initializer))
        before = [dict(space) for space in spaces]
        try:
            self._initializer(*self._initargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise InitializerFailed(f"{type(error).__name__}: {error}") from error
        return {
            name: value
            for space, old in zip(spaces, before)
            for name, value in space.items()
            if old.get(name, _ABSENT) is not value
        }

    def _hand_on(self, function: Any, values: dict[str, Any]) -> None:
        own = list(_namespaces(self._initializer))
        names = {space.get("__name__") for space in own}
        for space in _namespaces(function):
            if space.get("__name__") in names and not any(space is each for each in own):
                space.update(values)


def _namespaces(function: Any) -> Iterator[dict[str, Any]]:
    """Yield the globals of a function and of what it wraps."""
    while function is not None:
        if isinstance(function, functools.partial):
            function = function.func
            continue
        plain = getattr(function, "__func__", function)
        if not hasattr(plain, "__globals__"):
            plain = vars(type(function)).get("__call__")
        space = getattr(plain, "__globals__", None)
        if space is not None:
            yield space
        function = getattr(function, "__wrapped__", None)
