"""The worker's side of Dask: child processes beside each Dask worker."""
