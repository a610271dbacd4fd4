"""AWS Lambda on one machine: real code under AWS's own runtime client, Lambda's limits, scripted faults.

::

    with Emulator(faults=Faults(throttle=0.05, seed=1)) as emulator:
        client = boto3.client("lambda", endpoint_url=emulator.endpoints["lambda"])

What is as in Lambda: the runtime client, the Runtime API, the deployment package and layers, what a
handler can import, its environment variables, limits of payloads, time and memory, concurrency and
scaling rate, asynchronous delivery with its retries, cold and warm environments that are frozen in
between, the log with its REPORT line, the shapes of all errors. moto is S3, IAM, STS, logs and the
control plane's memory.

What is not:

* A function's share of CPUs: an environment gets what this machine has.
* Memory is watched, twenty times a second, and not reserved; a process that exceeds its function's is
  killed, as there. One that reserves more than twice as much sees a `MemoryError` instead.
* `/tmp` is a folder of its own (`TMPDIR`, which `tempfile` follows), code lies in `LAMBDA_TASK_ROOT`
  and layers are on the path, but not at `/tmp`, `/var/task` and `/opt`; nothing is read-only. Libraries in
  a layer's `lib` are found by processes that a handler starts, not by its own.
* Only functions for the Python that runs the emulator are run; an architecture is noted, not emulated.
* Permissions and signatures are not checked; `Emulator.calls` says which permissions were needed.
* There are no aliases, no SnapStart, no answers in a stream, no destinations of dropped events
  (`Emulator.dropped` lists them), no quota of requests per second, and functions' output is not in the logs
  service: it comes back with the answer.
"""

from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import (
    EmulatedFaults as EmulatedFaults,
)
from cloudbutton_backend.backends.aws_lambda.emulator.emulator import Emulator as Emulator
from cloudbutton_backend.backends.aws_lambda.emulator.emulator import serve as serve
from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import ApiCall as ApiCall
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits as LambdaLimits
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import (
    DroppedEvent as DroppedEvent,
)
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import ReportLine as ReportLine
