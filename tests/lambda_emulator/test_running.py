"""Code runs as it does in Lambda: what it finds around it, and what comes of its end."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from .account import Account, eventually, zipped

ECHO = "def handler(event, context): return event"


def test_a_handler_gets_its_event_and_knows_its_invocation(account: Account) -> None:
    name = account.function(
        "def handler(event, context):\n"
        "    return [event, context.function_name, context.invoked_function_arn,\n"
        "            context.aws_request_id, context.get_remaining_time_in_millis()]\n",
        Timeout=7,
    )
    answer = account.invoke(name, {"x": [1, "ä"]})
    event, function, arn, request_id, left = answer.body
    assert (event, function) == ({"x": [1, "ä"]}, name)
    assert arn == f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    assert answer.headers["x-amzn-requestid"] == request_id
    assert answer.headers["x-amz-executed-version"] == "$LATEST"
    assert 5000 < left <= 7000


def test_a_handler_has_the_environment_that_lambda_gives_it(account: Account) -> None:
    name = account.function(
        "import os\ndef handler(event, context): return dict(os.environ)\n",
        MemorySize=512,
        Environment={"Variables": {"MINE": "yes"}},
    )
    found = account.invoke(name).body
    assert found["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"
    assert found["_HANDLER"] == "module.handler"
    assert found["MINE"] == "yes"
    assert found["AWS_ACCESS_KEY_ID"].startswith("ASIA") and found["AWS_SESSION_TOKEN"]
    assert not {"HOME", "VIRTUAL_ENV", "SECRET_OF_MINE", "LC_ALL"} & set(found)


def test_clock_and_encoding_are_lambda_s_whatever_the_user_s_are(account: Account) -> None:
    name = account.function(
        "import sys, time\n"
        "def handler(event, context):\n"
        "    return [time.localtime(0).tm_hour, sys.getfilesystemencoding(), sys.stdout.encoding]\n"
    )
    assert account.invoke(name).body == [0, "utf-8", "utf-8"]


def test_a_handler_has_nothing_open_but_its_streams_and_the_runtime_s_sockets(
    account: Account,
) -> None:
    name = account.function(
        "import os\n"
        "def handler(event, context):\n"
        "    found = (f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd'))\n"
        "    return [os.readlink(path).partition(':')[0] for path in found if os.path.exists(path)]\n"
    )
    found = account.invoke(name).body
    assert sorted(what for what in found if what != "socket") == ["/dev/null", "pipe", "pipe"]
    assert found.count("socket") <= 3, "its connection, and what libcurl wakes itself with"


@pytest.mark.parametrize("module", ["json", "sqlite3", "boto3", "simplejson", "helper"])
def test_the_standard_library_the_runtime_and_the_package_can_be_imported(
    account: Account, module: str
) -> None:
    name = account.function(_IMPORTS, files={"helper.py": ""})
    assert account.invoke(name, module).body == "imported"


@pytest.mark.parametrize(
    "module", ["numpy", "cloudpickle", "aiohttp", "moto", "cloudbutton_backend", "pytest"]
)
def test_nothing_else_that_is_installed_here_can_be_imported(account: Account, module: str) -> None:
    name = account.function(_IMPORTS)
    answer = account.invoke(name, module)
    assert answer.body["errorType"] == "ModuleNotFoundError"


_IMPORTS = "def handler(event, context): __import__(event); return 'imported'\n"


def test_a_child_process_of_a_handler_imports_no_more_than_it(account: Account) -> None:
    name = account.function(
        "import subprocess, sys\n"
        "def handler(event, context):\n"
        "    done = subprocess.run([sys.executable, '-c', 'import cloudpickle'],\n"
        "                          capture_output=True, text=True)\n"
        "    return done.stderr.splitlines()[-1]\n"
    )
    assert account.invoke(name).body == "ModuleNotFoundError: No module named 'cloudpickle'"


def test_an_environment_is_kept_for_the_next_invocation(account: Account) -> None:
    name = account.function("n = 0\ndef handler(event, context):\n    global n; n += 1; return n\n")
    cold, warm = account.invoke(name), account.invoke(name)
    assert (cold.body, warm.body) == (1, 2)
    assert "Init Duration" in cold.report and "Init Duration" not in warm.report


def test_between_invocations_an_environment_is_frozen(account: Account) -> None:
    name = account.function(
        "import threading, time\n"
        "ticks = 0\n"
        "def tick():\n"
        "    global ticks\n"
        "    while True: time.sleep(0.002); ticks += 1\n"
        "threading.Thread(target=tick, daemon=True).start()\n"
        "def handler(event, context):\n"
        "    time.sleep(event); return ticks\n"
    )
    account.invoke(name, 0.05)
    (pid,) = (e["pid"] for e in account.emulator.state["environments"] if e["function"] == name)
    assert eventually(lambda: _state_of(pid) == "T")
    assert account.invoke(name, 0.1).body > 5


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_temporary_files_are_an_environment_s_own_and_go_with_it(account: Account) -> None:
    name = account.function(
        "import os, tempfile\n"
        "def handler(event, context):\n"
        "    with tempfile.NamedTemporaryFile(delete=False) as file: file.write(b'x')\n"
        "    if event: os._exit(3)\n"
        "    return [tempfile.gettempdir(), os.listdir(tempfile.gettempdir())]\n"
    )
    folder, files = account.invoke(name, False).body
    assert len(files) == 1
    assert account.invoke(name, True).error == "Unhandled"
    eventually(lambda: not os.path.exists(folder))


def test_layers_are_on_the_path_behind_the_package(account: Account) -> None:
    client = account.client("lambda")
    version = f"python{os.sys.version_info.major}.{os.sys.version_info.minor}"
    layers = [
        client.publish_layer_version(LayerName=layer, Content={"ZipFile": zipped(files)})
        for layer, files in (
            ("one", {"python/first.py": "x = 'one'", "python/module.py": "never"}),
            (
                "two",
                {
                    "python/first.py": "x = 'two'",
                    f"python/lib/{version}/site-packages/second.py": "y = 2",
                },
            ),
        )
    ]
    name = account.function(
        "import first, second\ndef handler(event, context): return [first.x, second.y]\n",
        Layers=[layer["LayerVersionArn"] for layer in layers],
    )
    assert account.invoke(name).body == ["two", 2]


def test_the_log_has_what_was_printed_between_the_platform_s_lines(account: Account) -> None:
    name = account.function(
        "import sys\nprint('loaded')\n"
        "def handler(event, context):\n"
        "    print('out'); print('err', file=sys.stderr)\n",
        MemorySize=300,
    )
    answer = account.invoke(name)
    request_id = answer.headers["x-amzn-requestid"]
    lines = answer.log.splitlines()
    assert lines[:5] == [
        "loaded",
        f"START RequestId: {request_id} Version: $LATEST",
        "out",
        "err",
        f"END RequestId: {request_id}",
    ]
    found = re.fullmatch(
        rf"REPORT RequestId: {request_id}\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\t"
        r"Memory Size: 300 MB\tMax Memory Used: (\d+) MB\tInit Duration: ([\d.]+) ms\t",
        lines[5],
    )
    assert found is not None, lines[5]
    duration, billed, used, init = map(float, found.groups())
    assert billed - 1 < duration + init <= billed + 0.01
    assert 5 <= used <= 100


def test_the_log_that_comes_back_is_the_last_four_kilobytes(account: Account) -> None:
    name = account.function("def handler(event, context): print('x' * 100_000, 'end')\n")
    log = account.invoke(name).log
    assert len(log) == 4096 and "x end\nEND" in log


def test_no_log_comes_back_unless_it_is_asked_for(account: Account) -> None:
    name = account.function(ECHO)
    assert account.invoke(name, LogType="None").log == ""


def test_an_exception_comes_back_with_its_traceback(account: Account) -> None:
    name = account.function(
        "class Odd(Exception): pass\ndef handler(event, context): raise Odd('so odd')\n"
    )
    answer = account.invoke(name)
    assert answer.error == "Unhandled"
    assert answer.body["errorType"] == "Odd" and answer.body["errorMessage"] == "so odd"
    assert "raise Odd('so odd')" in answer.body["stackTrace"][0]
    assert "[ERROR] Odd: so odd\nTraceback" in answer.log


#: What a handler's end looks like from outside.
ENDS: list[tuple[str, str, str]] = [
    ("os._exit(1)", "Runtime.ExitError", "Runtime exited with error: exit status 1"),
    ("os._exit(0)", "Runtime.ExitError", "Runtime exited without providing a reason"),
    ("sys.exit(4)", "Runtime.ExitError", "Runtime exited with error: exit status 4"),
    ("os.kill(os.getpid(), 9)", "Runtime.ExitError", "Runtime exited with error: signal: killed"),
    (
        "os.kill(os.getpid(), 11)",
        "Runtime.ExitError",
        "Runtime exited with error: signal: segmentation fault",
    ),
    ("time.sleep(60)", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ("while True: pass", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
]


@pytest.mark.parametrize(("code", "kind", "message"), ENDS, ids=[end[0] for end in ENDS])
def test_a_process_that_does_not_answer_is_named_as_lambda_does(
    account: Account, code: str, kind: str, message: str
) -> None:
    source = f"import os, sys, time\ndef handler(event, context):\n  if event:\n    {code}\n"
    name = account.function(source, Timeout=1)
    answer = account.invoke(name, 1)
    request_id = answer.headers["x-amzn-requestid"]
    assert answer.error == "Unhandled"
    assert answer.body == {
        "errorType": kind,
        "errorMessage": f"RequestId: {request_id} Error: {message}",
    }
    assert ("Status: timeout" if kind == "Sandbox.Timedout" else "Status: error") in answer.report
    assert account.invoke(name, 0).error is None, "the next environment is a new one"


def test_a_time_out_is_billed_for_all_of_it(account: Account) -> None:
    name = account.function("import time\ndef handler(event, context): time.sleep(9)\n", Timeout=1)
    assert "\tDuration: 1000.00 ms\t" in account.invoke(name).report


def test_a_process_beyond_its_memory_is_killed(account: Account) -> None:
    name = account.function(
        "def handler(event, context): x = b'x' * (event << 20); return len(x)\n", MemorySize=128
    )
    assert account.invoke(name, 50).error is None
    answer = account.invoke(name, 400)
    assert answer.body["errorMessage"].endswith("signal: killed")
    assert "Max Memory Used: 128 MB" in answer.report
    assert "Error Type: Runtime.OutOfMemory" in answer.report


def test_the_memory_of_child_processes_counts(account: Account) -> None:
    source = "import subprocess, sys\ndef handler(event, context):\n"
    source += "    code = 'x = b\"x\" * (150 << 20); import time; time.sleep(30)'\n"
    source += "    subprocess.run([sys.executable, '-c', code])\n"
    name = account.function(source, MemorySize=128)
    assert "Runtime.OutOfMemory" in account.invoke(name).report


def test_what_a_handler_leaves_behind_dies_with_its_environment(account: Account) -> None:
    name = account.function(
        "import os, subprocess\n"
        "def handler(event, context):\n"
        "    if event: os._exit(1)\n"
        "    return subprocess.Popen(['sleep', '1000'], start_new_session=True).pid\n"
    )
    pid = account.invoke(name, 0).body
    assert os.path.exists(f"/proc/{pid}")
    account.invoke(name, 1)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))


def test_there_are_no_posix_semaphores(account: Account) -> None:
    name = account.function(
        "import multiprocessing\ndef handler(event, context): multiprocessing.Lock()\n"
    )
    body = account.invoke(name).body
    assert (body["errorType"], body["errorMessage"]) == (
        "OSError",
        "[Errno 38] Function not implemented",
    )


BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("import nothing_like_it", {}, "Runtime.ImportModuleError", "No module named"),
    ("def handler(:", {}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'module'"),
    ("x = 1", {}, "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'module'"),
    (ECHO, {"Handler": "nodots"}, "Runtime.MalformedHandlerName", "Bad handler 'nodots'"),
    ("1 / 0", {}, "ZeroDivisionError", "division by zero"),
    ("import os; os._exit(5)", {}, "Runtime.ExitError", "exit status 5"),
]


@pytest.mark.parametrize(
    ("source", "options", "kind", "message"), BROKEN, ids=[case[2] for case in BROKEN]
)
def test_a_failing_initialisation_is_tried_twice_and_reported(
    account: Account, source: str, options: dict[str, Any], kind: str, message: str
) -> None:
    answer = account.invoke(account.function(f"print('try')\n{source}", **options))
    assert answer.error == "Unhandled"
    assert answer.body["errorType"] == kind and message in answer.body["errorMessage"]
    assert answer.log.count("try\n") in (0, 2), "a module that cannot be compiled prints nothing"
    assert "Init Duration" in answer.report and "Status: error" in answer.report


def test_another_python_is_refused_and_the_one_there_is_is_named(account: Account) -> None:
    name = account.function(ECHO, Runtime="python3.9")
    with pytest.raises(account.client("lambda").exceptions.InvalidRuntimeException, match="wants"):
        account.invoke(name)


def test_code_in_a_function_reaches_s3_with_its_role(account: Account) -> None:
    account.client("s3").create_bucket(Bucket="shelf")
    name = account.function(
        "import boto3\n"
        "def handler(event, context):\n"
        "    boto3.client('s3').put_object(Bucket='shelf', Key='a/b', Body=b'hello')\n"
    )
    assert account.invoke(name).error is None
    assert account.client("s3").get_object(Bucket="shelf", Key="a/b")["Body"].read() == b"hello"
    calls = {(c.permission, c.resource, c.principal) for c in account.emulator.calls}
    assert ("s3:PutObject", "arn:aws:s3:::shelf/a/b", "role") in calls
    assert ("s3:GetObject", "arn:aws:s3:::shelf/a/b", "user") in calls
