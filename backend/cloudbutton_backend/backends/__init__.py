"""The protocol and registry of backends, and the backends that come with the package."""
