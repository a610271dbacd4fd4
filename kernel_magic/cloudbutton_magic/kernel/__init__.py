"""Hooks into IPython: execution, interrupts, completion, errors, and the front end's API."""
