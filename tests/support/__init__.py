"""What tests and benchmarks share: a simulator of the dispatcher and its parts."""
