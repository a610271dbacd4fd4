"""Other machines, reached by the user's own ssh."""
