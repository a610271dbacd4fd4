"""Notebooks and scripts run plainly and with the button, in real kernels, and compared."""
