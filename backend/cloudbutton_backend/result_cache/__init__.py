"""Results of earlier runs found again by code, values and item: `--cache`, and cells that are attached to."""

from __future__ import annotations

from cloudbutton_backend.result_cache.earlier_loops import EarlierLoops
from cloudbutton_backend.result_cache.index import CacheIndex, remove_missing
from cloudbutton_backend.result_cache.job_cache import JobCache
from cloudbutton_backend.result_cache.key_ingredients import KeyIngredients, ingredients_of
from cloudbutton_backend.result_cache.keys import Keyer
from cloudbutton_backend.result_cache.loop_traces import LoopTracer

__all__ = [
    "CacheIndex",
    "EarlierLoops",
    "JobCache",
    "KeyIngredients",
    "Keyer",
    "LoopTracer",
    "ingredients_of",
    "remove_missing",
]
