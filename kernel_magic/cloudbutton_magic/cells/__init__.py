"""`%%cloud map` and `%%cloud run`: from a header and a body to a job."""
