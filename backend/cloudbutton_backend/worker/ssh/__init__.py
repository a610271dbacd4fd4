"""What runs on a machine that a kernel reaches by ssh: the agent, and the way to it."""
