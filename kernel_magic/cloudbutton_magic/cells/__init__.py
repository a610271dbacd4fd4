"""`%%cloud map` and `%%cloud run`: parse a header and a body into a job."""
