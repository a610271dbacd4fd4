"""Where items run: the protocol, the registry and the backends that come with the package."""
