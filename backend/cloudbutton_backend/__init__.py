"""Runs jobs: capture, dispatch, journal and the backends."""
