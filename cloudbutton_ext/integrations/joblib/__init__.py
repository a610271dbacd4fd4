"""joblib's `Parallel`, and so scikit-learn's `n_jobs`, on any backend: `parallel_config("cloudbutton")`.

`import cloudbutton_ext` is all that is needed. joblib knows no entry points, so the name is put into its
table: now, if joblib is loaded, or else when it is.
"""

from __future__ import annotations

from typing import Any, Final

from cloudbutton_ext.integrations.joblib.import_hook import when_imported

NAME: Final = "cloudbutton"


def _make(**options: Any) -> Any:
    """Make the backend; joblib calls this when the name is used."""
    from cloudbutton_ext.integrations.joblib.backend import CloudBackend

    return CloudBackend(**options)


def offer() -> None:
    """Let joblib know the name, without importing joblib."""
    when_imported(
        "joblib.parallel", lambda parallel: parallel.register_parallel_backend(NAME, _make)
    )
