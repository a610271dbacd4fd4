"""What a local pool costs, ours and its peers, measured side by side on the reader's machine."""
