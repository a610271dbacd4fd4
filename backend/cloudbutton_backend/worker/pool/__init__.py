"""A pool of worker processes: of this machine's kernel, or of one that has come by ssh."""
