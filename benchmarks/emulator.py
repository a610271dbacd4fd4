"""How fast the Lambda emulator is: `python -m benchmarks.emulator --environments 50 --calls 2000`.

It is not a measure of Lambda. It says how many environments a test can afford, and from where on the
emulator is what a benchmark of the client measures.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
import zipfile

import aiohttp
import boto3

from cloudbutton_backend.backends.aws_lambda.emulator import Emulator, LambdaLimits
from cloudbutton_backend.backends.aws_lambda.emulator.zygote_client import runtime_name

_SOURCE = "import time\ndef handler(event, context): time.sleep(event)\n"
_TOGETHER = 0.5
"""Seconds a handler sleeps when all environments are to be started."""
_SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 "
    "Credential=AKIAEMULATEDUSER0000/20261120/us-east-1/lambda/aws4_request, Signature=0",
    "X-Amz-Log-Type": "Tail",
}


def _deploy(emulator: Emulator) -> str:
    """Create the function; return the address to invoke it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("module.py", _SOURCE)
    keys = {"aws_access_key_id": "AKIAEMULATEDUSER0000", "aws_secret_access_key": "x"}
    clients = {
        name: boto3.client(name, endpoint_url=url, region_name=emulator.region, **keys)
        for name, url in emulator.endpoints.items()
        if name in ("iam", "lambda")
    }
    role = clients["iam"].create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
    clients["lambda"].create_function(
        FunctionName="noop",
        Runtime=runtime_name(),
        Role=role["Role"]["Arn"],
        Handler="module.handler",
        Code={"ZipFile": buffer.getvalue()},
        MemorySize=128,
    )
    return emulator.endpoints["lambda"] + "/2015-03-31/functions/noop/invocations"


async def _invoke(url: str, calls: int, sleep: float, at_a_time: int) -> list[float]:
    """Return how long each call took, from its turn on."""
    turn = asyncio.Semaphore(at_a_time)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=_SIGNED) as session:

        async def one() -> float:
            async with turn:
                began = time.perf_counter()
                async with session.post(url, json=sleep) as got:
                    await got.read()
                    assert got.status == 200 and "X-Amz-Function-Error" not in got.headers, got
                return time.perf_counter() - began

        return await asyncio.gather(*(one() for _ in range(calls)))


def _timed(url: str, calls: int, sleep: float, at_a_time: int) -> float:
    began = time.perf_counter()
    asyncio.run(_invoke(url, calls, sleep, at_a_time))
    return time.perf_counter() - began


def _proportional(pid: int) -> int:
    """Return a process's share of memory in bytes; pages shared by n count 1/n."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=50)
    parser.add_argument("--calls", type=int, default=2000)
    chosen = parser.parse_args()
    count = chosen.environments
    began = time.perf_counter()
    with Emulator(limits=LambdaLimits(concurrency=count, pending_seconds=0.0)) as emulator:
        print(f"start until it answers       {time.perf_counter() - began:8.2f} s")
        url = _deploy(emulator)
        print(f"… and the function is there  {time.perf_counter() - began:8.2f} s")
        (cold,) = asyncio.run(_invoke(url, 1, 0, 1))
        print(f"cold call                    {1000 * cold:8.1f} ms")
        warm = asyncio.run(_invoke(url, 500, 0, 1))
        print(f"warm call, one at a time     {1000 * statistics.median(warm):8.1f} ms")
        took = _timed(url, count, _TOGETHER, count)
        print(f"{count:4} environments at once    {1000 * (took - _TOGETHER) / count:8.1f} ms each")
        pids = [found["pid"] for found in emulator.state["environments"]]
        shares = [_proportional(pid) for pid in pids]
        print(f"memory of an environment     {statistics.mean(shares) / 1e6:8.1f} MB")
        took = _timed(url, chosen.calls, 0, count)
        print(f"calls, {count:4} at a time       {chosen.calls / took:8.0f} /s")


if __name__ == "__main__":
    main()
