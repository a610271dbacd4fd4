"""Running jobs takes the permissions that `cloudbutton policy lambda --for run` prints, and no others."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.connection import connect
from cloudbutton_backend.backends.aws_lambda.deployment.policies import policy
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.lambda_backend.conftest import clients_of, new_backend, shared_emulator
from tests.lambda_backend.test_detached import collected
from tests.support.iam_evaluation import allows


def test_every_request_of_a_full_run_is_one_that_the_policy_allows(tmp_path: Path) -> None:
    emulator = shared_emulator()
    with_function = new_backend(emulator)
    place = TaskPlace(with_function)
    place.map(lambda x: x, [1])
    place.session.close()
    before = len(emulator.calls)

    table, begun = os.urandom(300_000), str(tmp_path / "begun")

    def hang(_: int) -> None:
        open(begun, "w").close()
        threading.Event().wait()

    backend = LambdaBackend(LambdaSettings(workers=2), clients=clients_of(emulator))
    place = TaskPlace(backend)
    try:
        assert place.map(lambda at: table[at], [0]) == [table[0]]
        large = [bytes([n]) * 4_000_000 for n in range(2)]
        assert place.map(lambda item: item[::-1], large) == [item[::-1] for item in large]
        detached = place.start(lambda x: -x, [1, 2], detach=True)
        assert detached.results() == [-1, -2]
        job = place.start(hang, [1])
        deadline = time.monotonic() + 20
        while not os.path.exists(begun):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.cancel()
        assert job.wait(10.0)
        assert len(collected(detached.id)) == 2
        assert all(ok for _, ok, _ in backend.health())
    finally:
        place.session.close()
    allowed = policy("run", connect(backend.settings, clients_of(emulator)).home)
    made = {(call.permission, call.resource) for call in emulator.calls[before:]}
    made -= {("sts:GetCallerIdentity", "*")}  # needs no permission
    assert {"lambda:InvokeFunction", "s3:PutObject", "s3:GetObject", "s3:ListBucket"} <= {
        permission for permission, _ in made
    }
    refused = {(p, r) for p, r in made if not allows(allowed, p, r)}
    assert refused == set()
