"""The user's data directory and the sealed files in it."""
