"""Makes the keys of results from a job's ingredients and its items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.capture.content_digest import ContentDigest, Unkeyable, content_of
from cloudbutton_backend.result_cache.code_versions import needed_by, versions_of
from cloudbutton_backend.result_cache.key_ingredients import KeyIngredients
from cloudbutton_backend.worker.atoms import PLAIN

KEY_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class ItemKey:
    """The keys under which an item's result may be found."""

    plain: bytes
    draws: bool
    """Whether code inside the item names `cloud.rng`."""
    can_change: bool
    """Whether the item may be another one by the time it is sent."""


class Keyer:
    """Makes the keys of one job."""

    def __init__(self, ingredients: KeyIngredients) -> None:
        self._common = ingredients.digest()
        self._seed = ingredients.seed
        self._draws = ingredients.draws
        self._versions: dict[frozenset[str], bytes] = {}
        self._stable: dict[type, bool] = {}
        self.classes: set[str] = set()
        """cloudpickle's ids of the notebook's classes that the items so far hold."""

    def keys_of(self, items: Sequence[Any]) -> tuple[list[ItemKey | None], str]:
        """Return a key for each item, None where it has none; and why the first of those has none."""
        keys: list[ItemKey | None] = []
        why = ""
        for item in items:
            try:
                keys.append(self.key_of(item))
            except Unkeyable as error:
                keys.append(None)
                why = why or f"a {type(item).__name__}: {error}"
        return keys, why

    def key_of(self, item: Any) -> ItemKey:
        """Return the key of one item.

        Raises
        ------
        Unkeyable
            If its content cannot be told.
        """
        kind = type(item)
        if kind in PLAIN:
            return ItemKey(self._plain(content_of(item)), False, False)
        content = content_of(item)
        self.classes |= content.classes
        if kind not in self._stable:
            self._stable[kind] = content_of(item).digest == content.digest
        if not self._stable[kind]:
            raise Unkeyable("it is pickled differently each time")
        return ItemKey(self._plain(content), content.draws, not is_fixed(item))

    def found_under(self, key: ItemKey, index: int) -> list[bytes]:
        """Return the keys under which the result of item `index` may be found, the likelier first."""
        if self._draws or key.draws:
            return [] if self._seed is None else [self._seeded(key, index)]
        return [key.plain] if self._seed is None else [key.plain, self._seeded(key, index)]

    def kept_under(self, key: ItemKey, index: int, *, drew: bool) -> bytes | None:
        """Return the key under which a result is kept; None if it could never be found again.

        Parameters
        ----------
        drew
            Whether the item was seen to draw from `cloud.rng`.
        """
        if not (drew or self._draws or key.draws):
            return key.plain
        return None if self._seed is None else self._seeded(key, index)

    def _plain(self, content: ContentDigest) -> bytes:
        versions = self._versions.get(content.packages)
        if versions is None:
            packages = versions_of(content.packages)
            text = repr([tuple(each) for each in (*packages, *needed_by(packages))])
            versions = self._versions[content.packages] = hashlib.sha256(text.encode()).digest()
        # All parts have a fixed length.
        return hashlib.sha256(self._common + versions + content.digest).digest()[:KEY_BYTES]

    def _seeded(self, key: ItemKey, index: int) -> bytes:
        text = key.plain + f" seed {self._seed} item {index}".encode()
        return hashlib.sha256(text).digest()[:KEY_BYTES]


def is_fixed(item: Any) -> bool:
    """Whether nothing can make another item of it."""
    kind = type(item)
    return kind in PLAIN or (kind is tuple and all(map(is_fixed, item)))
