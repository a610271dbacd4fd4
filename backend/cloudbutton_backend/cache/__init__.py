"""Results of earlier runs found again by code, values and item: `--cache`, and cells that are attached to."""

from __future__ import annotations

from .earlier import EarlierLoops
from .index import Index, tidy
from .ingredients import Ingredients, ingredients_of
from .job_cache import JobCache
from .keys import Keyer
from .traces import Tracer

__all__ = [
    "EarlierLoops",
    "Index",
    "Ingredients",
    "JobCache",
    "Keyer",
    "Tracer",
    "ingredients_of",
    "tidy",
]
