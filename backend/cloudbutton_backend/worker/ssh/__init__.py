"""Code on a machine that a kernel reaches by ssh: the agent, and the relay to it."""
