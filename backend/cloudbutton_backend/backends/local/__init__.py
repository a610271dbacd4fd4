"""Worker processes on this machine."""

from cloudbutton_backend.backends.local.pool import LocalBackend

__all__ = ["LocalBackend"]
