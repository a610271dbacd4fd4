"""`%cloud …`: the line commands."""
