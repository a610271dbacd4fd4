"""Results of items: decoded, kept in order, written to a file."""
