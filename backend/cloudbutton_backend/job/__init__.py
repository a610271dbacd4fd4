"""A job of this process: its handle, its run state, and what listens to the driver."""
