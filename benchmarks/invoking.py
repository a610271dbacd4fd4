"""What invoking Lambda costs the client: `python -m benchmarks.invoking --calls 1000`.

Against the emulator, which runs in other processes: CPU is that of the client's process alone. The
function does nothing and is warm. boto3 is used as its documentation has it, one client shared by
threads; our own invoker is measured bare, and below a whole job of one item per call. Engines take
turns; the median of the rounds is shown, then the lowest and the highest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3
from botocore.config import Config

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.connection import (
    LambdaConnection,
    connect,
    ensure_function,
)
from cloudbutton_backend.backends.aws_lambda.emulator import Emulator
from cloudbutton_backend.backends.aws_lambda.emulator import LambdaLimits as Quotas
from cloudbutton_backend.backends.aws_lambda.function_archive import function_zip
from cloudbutton_backend.backends.aws_lambda.http import SignedHttpClient
from cloudbutton_backend.backends.aws_lambda.invoke import InvocationAnswer, Invoker
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session

PING = b'{"ping": 1}'
SETTINGS = LambdaSettings(emulate=True)


class OneItemPerCall(LambdaBackend):
    """As if each item were worth a call."""

    @property
    def limits(self) -> Limits:
        return replace(super().limits, batch_seconds=1e-9, first_wave=None)


def clients_of(emulator: Emulator) -> BotoClients:
    return BotoClients(emulator.region, emulator.endpoints, environment=emulator.environment)


def ours(connection: LambdaConnection, calls: int, at_a_time: int) -> None:
    """Invoke from one thread, as the backend does."""

    async def all_of_them() -> None:
        web = SignedHttpClient(connection.clients, connection.endpoints)
        invoker = Invoker(web, connection.home.region, at_a_time, 60.0, time.monotonic)
        function = connection.home.function
        ended = await asyncio.gather(
            *(invoker.invoke(function, PING, 60.0, lambda _: None) for _ in range(calls))
        )
        assert all(isinstance(each, InvocationAnswer) and "code" in each.body for each in ended)
        await web.close()

    asyncio.run(all_of_them())


def with_boto3(connection: LambdaConnection, emulator: Emulator, calls: int, threads: int) -> None:
    """Invoke from as many threads, which share a client."""
    keys = emulator.environment
    client = boto3.client(
        "lambda",
        endpoint_url=emulator.endpoints["lambda"],
        region_name=emulator.region,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=threads),
    )
    function = connection.home.function

    def one(_: int) -> bool:
        answer = client.invoke(FunctionName=function, Payload=PING, LogType="Tail")
        return "code" in answer["Payload"].read().decode()

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(one, range(calls)))


def timed(act: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds on the wall, and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


def show(title: str, readings: list[tuple[float, float]], calls: int) -> None:
    columns = []
    for number in (0, 1):
        values = sorted(1000 * reading[number] / calls for reading in readings)
        columns.append(f"{statistics.median(values):6.2f} ({values[0]:.2f}-{values[-1]:.2f})")
    print(f"{title:36} wall {columns[0]:22} CPU {columns[1]:22} ms per call", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    calls, count = chosen.calls, chosen.environments
    os.environ["CLOUDBUTTON_HOME"] = tempfile.mkdtemp(prefix="cloudbutton-benchmark-")
    print(f"deployment package: {len(function_zip(notebook_python())) / 1000:.0f} kB")
    with Emulator(limits=Quotas(concurrency=max(32, count))) as emulator:
        connection = connect(SETTINGS, clients_of(emulator))
        ensure_function(SETTINGS, connection, connection.home, ())
        ours(connection, 1, 1)
        (cold,) = emulator.reports
        print(
            f"cold start: initialisation {cold.init_ms:.0f} ms, first call {cold.duration_ms:.1f} ms"
        )
        ours(connection, 4 * count, count)
        engines: dict[str, Callable[[], Any]] = {
            f"ours, {count} at a time": lambda: ours(connection, calls, count),
            "boto3, 8 threads": lambda: with_boto3(connection, emulator, calls, 8),
            "boto3, 32 threads": lambda: with_boto3(connection, emulator, calls, 32),
        }
        readings: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
        for _ in range(chosen.rounds):
            for name, act in engines.items():
                readings[name].append(timed(act))
        for name, found in readings.items():
            show(name, found, calls)
        with job_place(emulator, count) as session:
            jobs = [timed(lambda: run_job(session, calls)) for _ in range(chosen.rounds)]
            show(f"a job of {calls} calls, {count} workers", jobs, calls)
        with job_place(emulator, 1) as session:
            before = len(emulator.reports)
            run_job(session, 300)
            warm = [report.duration_ms for report in emulator.reports[before:]]
            print(f"a warm call of one item takes {statistics.median(warm):.2f} ms in the function")


@contextmanager
def job_place(emulator: Emulator, workers: int) -> Iterator[Session]:
    """Yield a session with warm environments."""
    backend = OneItemPerCall(
        workers=workers,
        emulate=True,
        connector=lambda settings: connect(settings, clients_of(emulator)),
    )
    session = Session()
    session._drivers["lambda", ()] = Driver(backend)
    try:
        run_job(session, 4 * workers)
        yield session
    finally:
        session.close()


def run_job(session: Session, items: int) -> None:
    options = JobOptions(backend="lambda", quiet=True)
    assert session.map(abs, range(items), options=options).results() == list(range(items))


if __name__ == "__main__":
    main()
