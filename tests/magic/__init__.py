"""A package, so that its shell ends with its tests: what comes after must not find it."""
