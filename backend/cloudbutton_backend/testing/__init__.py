"""The conformance suites that every backend passes, for backends of other packages too."""
