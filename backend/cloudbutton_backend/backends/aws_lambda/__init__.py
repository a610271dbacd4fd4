"""AWS Lambda: what is deployed there, what its functions run in, and how they are called."""

from cloudbutton_backend.backends.extras import require

require("lambda")
