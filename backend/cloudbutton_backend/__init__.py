"""From a job to its results: capture, dispatch, journal and the backends that run it."""
