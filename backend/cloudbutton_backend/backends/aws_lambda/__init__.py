"""AWS Lambda: the backend, its deployment and its environments."""

from cloudbutton_backend.backends.extras import require

require("lambda")
