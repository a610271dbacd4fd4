"""Worker processes on this machine."""

from cloudbutton_backend.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
