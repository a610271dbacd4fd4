"""What runs beside the user's function. Imports the standard library and cloudpickle, nothing else."""
