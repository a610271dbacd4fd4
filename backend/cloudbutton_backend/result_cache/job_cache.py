"""The cache of one job: results it takes, and results it adds."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cloudbutton_backend.backends.protocol import Results
from cloudbutton_backend.capture.content_digest import Unkeyable
from cloudbutton_backend.result_cache.index import CacheEntry, CacheHit, CacheIndex, ResultLocation
from cloudbutton_backend.result_cache.key_ingredients import KeyIngredients, ingredients_of
from cloudbutton_backend.result_cache.keys import ItemKey, Keyer
from cloudbutton_backend.result_cache.result_classes import LiveClasses, classes_in
from cloudbutton_backend.result_cache.retrieval import Retrieval, base_name, hash_of, read_payload
from cloudbutton_backend.results.result_ranges import ResultRange
from cloudbutton_backend.results.result_record import ResultRecord

_Parcel = tuple[ResultRecord, Sequence[ResultRange]]


class JobCache:
    """The cache as one job sees it.

    Parameters
    ----------
    results
        The directory of the result files.
    code
        The function, and what else its results depend on beside the items.
    seed
        The seed that was chosen for the job, None if it is drawn.
    warn
        Called with lines for the user.
    hold
        Keep nothing before `release`: the results have yet to be confirmed.
    """

    def __init__(
        self,
        index: CacheIndex,
        results: Path,
        code: Any,
        *,
        seed: int | None,
        warn: Callable[[str], None],
        hold: bool = False,
    ) -> None:
        self._index = index
        self._results = results
        self._warn = warn
        self._keys: list[ItemKey | None] = []
        self._items: dict[int, Any] = {}
        self._early: defaultdict[tuple[str, int], list[_Parcel]] = defaultdict(list)
        self._held: list[_Parcel] | None = [] if hold else None
        self._lock = threading.Lock()  # guards `_held`: the driver's thread, and `release`
        self._is_spoilt = False
        self._keyer: Keyer | None = None
        self.ingredients: KeyIngredients | None = None
        """The ingredients that all keys of the job share; None if its code has no identifiable content."""
        self.hits = 0
        """Items whose results were found."""
        try:
            self.ingredients = ingredients_of(code, seed)
            self._keyer = Keyer(self.ingredients)
        except Unkeyable as error:
            warn(f"`--cache`: nothing is found or kept, as the code cannot be compared: {error}")

    # -- taking

    def find(self, items: Sequence[Any], but: Sequence[ResultRange] = ()) -> list[ResultRange]:
        """Return ranges of items of which earlier jobs had results, without those in `but`."""
        keyer, ingredients = self._keyer, self.ingredients
        if keyer is None or ingredients is None:
            return []
        self._keys, why = keyer.keys_of(items)
        without = self._keys.count(None)
        if without:
            which = f"{without:,} {'item' if without == 1 else 'items'}"
            self._warn(f"`--cache`: {which} always run, as they cannot be compared ({why})")
        self._items = {i: items[i] for i, key in enumerate(self._keys) if key and key.can_change}
        known = {index for run in but for index in range(run.first, run.stop)}
        wanted: dict[bytes, list[int]] = {}
        for index, key in enumerate(self._keys):
            if key is not None and index not in known:
                for possible in keyer.found_under(key, index):
                    wanted.setdefault(possible, []).append(index)
        places = self._index.find(list(wanted))
        found: dict[int, CacheHit] = {}
        for possible, hit in places.items():
            for index in wanted[possible]:
                found.setdefault(index, hit)
        live = LiveClasses(ingredients.classes | keyer.classes)
        retrieval = Retrieval(self._results, live)
        runs = retrieval.runs(found)
        if retrieval.lost:
            self._index.remove(retrieval.lost)
        if retrieval.without_output:
            self._warn("printed output beyond 8 MB is in the files of earlier jobs only, not shown")
        if self._index.trouble:
            self._warn(self._index.trouble)
        self.hits = sum(run.stop - run.first for run in runs)
        for run in runs:
            for index in range(run.first, run.stop):
                self._items.pop(index, None)
        return runs

    # -- giving

    def accept(self, results: Results, entry: ResultRecord, runs: Sequence[ResultRange]) -> None:
        """Keep results that were just recorded (on the driver's thread: nothing is written here).

        Whether items changed captured values, on which others may have depended, is known when
        their batch has ended; what was sent earlier waits until then.
        """
        if self._keyer is None or self._is_spoilt:
            return
        batch = (results.worker, results.batch)
        if entry.meta.changed:
            self._is_spoilt = True
            self._early.clear()
            with self._lock:
                self._held = None if self._held is None else []
            self._warn("`--cache`: results are not kept, as items changed values that others use")
            return
        if entry.meta.early:
            self._early[batch].append((entry, runs))
            return
        parcels = [*self._early.pop(batch, ()), (entry, runs)]
        with self._lock:
            if self._held is not None:
                self._held += parcels
                return
        self._keep(parcels)

    def release(self) -> None:
        """The results so far are right: keep them, and those to come."""
        with self._lock:
            held, self._held = self._held, None
        if held:
            self._keep(held)

    def _keep(self, parcels: Sequence[_Parcel]) -> None:
        for entry, runs in parcels:
            self._index.add(partial(self._cache_entry, entry, runs))

    def _cache_entry(self, entry: ResultRecord, runs: Sequence[ResultRange]) -> CacheEntry | None:
        """Return the entry of a record, if it is to be kept (on the index's thread)."""
        entries = list(self._entries(entry, runs))
        if entry.path is None or not entries:
            return None  # on a full disk, results stay in memory
        payload = entry.payload  # once: it goes when what was held for a full disk is written
        if payload is not None:
            whole = memoryview(payload)
        else:
            whole = read_payload(entry.path, entry.offset, entry.length)
        if len(whole) != entry.length:
            return None
        classes = classes_in(whole)
        if classes is None:
            return None
        place = ResultLocation(
            base_name(entry.path), entry.offset, entry.length, hash_of(whole), classes
        )
        return CacheEntry(place, entries)

    def _entries(self, entry: ResultRecord, runs: Sequence[ResultRange]) -> list[tuple[bytes, int]]:
        keyer = self._keyer
        assert keyer is not None
        drew = frozenset(entry.meta.drew)
        found = []
        for run in runs:
            failed = frozenset(run.failed())
            for index in range(run.first, run.stop):
                key = self._keys[index] if index < len(self._keys) else None
                if key is None or index in failed:
                    continue
                if key.can_change and not _is_still(keyer, self._items.pop(index, None), key):
                    continue  # what was sent may have been another item than that of the key
                kept = keyer.kept_under(key, index, drew=index in drew)
                if kept is not None:
                    found.append((kept, index - entry.first))
        return found


def _is_still(keyer: Keyer, item: Any, key: ItemKey) -> bool:
    try:
        return keyer.key_of(item) == key
    except Unkeyable:
        return False
