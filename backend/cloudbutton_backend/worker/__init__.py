"""Code that runs beside the user's function. Imports only the standard library and cloudpickle."""
