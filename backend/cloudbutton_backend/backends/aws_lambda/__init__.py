"""AWS Lambda: what is deployed there, what its functions run in, and how they are called."""
