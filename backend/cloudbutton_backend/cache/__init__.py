"""`--cache`: results of earlier runs found again by code, values and item."""

from __future__ import annotations

from .index import Index, tidy
from .ingredients import Ingredients, ingredients_of
from .job_cache import JobCache
from .keys import Keyer

__all__ = ["Index", "Ingredients", "JobCache", "Keyer", "ingredients_of", "tidy"]
