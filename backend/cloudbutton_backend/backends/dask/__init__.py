"""Items on the workers of a Dask cluster: the way past one machine."""
