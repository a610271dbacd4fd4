"""Other libraries' interfaces over our workers: futures, pools, joblib, Dask graphs."""
