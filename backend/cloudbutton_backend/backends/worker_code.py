"""The sources that travel to where items run, where this package is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = "cloudbutton_backend"


def worker_code(folder: str, *folders: str) -> dict[str, bytes]:
    """Return the modules of `worker/`, and of these folders in it, by their paths in an archive."""
    import cloudbutton_backend

    root = Path(cloudbutton_backend.__file__).parent
    found = [root / "__init__.py", *sorted((root / "worker").glob("*.py"))]
    for each in (folder, *folders):
        found += sorted((root / "worker" / each).glob("*.py"))
    return {f"{_PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in found}


def cloudpickle_code() -> dict[str, bytes]:
    """Return the modules of cloudpickle, by their paths in an archive."""
    import cloudpickle

    found = sorted(Path(cloudpickle.__file__).parent.glob("*.py"))
    return {f"cloudpickle/{path.name}": path.read_bytes() for path in found}
