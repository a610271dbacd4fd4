"""The worker's side of AWS Lambda: the handler, its child processes, its wire format."""
