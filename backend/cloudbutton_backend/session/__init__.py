"""One session per process: launching, resuming, attaching to and following jobs."""
