"""For tests: a simulator of the dispatcher, and the suite that every backend passes."""
