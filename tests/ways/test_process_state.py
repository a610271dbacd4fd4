"""What the notebook's process has set for itself holds wherever its functions run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from cloudbutton_backend.errors import CaptureError
from tests.magic.conftest import Run
from tests.ways.conftest import WAYS, Along


@dataclass(frozen=True)
class State:
    """One thing that a process sets for itself."""

    name: str
    set: str
    """The cell that sets it."""
    unset: str
    """The cell that sets it back."""
    read: str
    """What the function returns: another value where it is not set."""


STATES = [
    State("np.seterr", "import numpy as np\nnp.seterr(all='raise')",
        "np.seterr(divide='warn', over='warn', under='ignore', invalid='warn')", "np.geterr()"),
    State("np.seterrcall", "import numpy as np\ndef heard(*told): pass\nnp.seterrcall(heard)",
        "np.seterrcall(None)", "np.geterrcall() is not None"),
    State("np.set_printoptions", "import numpy as np\nnp.set_printoptions(precision=3)",
        "np.set_printoptions(precision=8)", "repr(np.array([x + 1 / 7]))"),
    State("filters of warnings", "import warnings\nwarnings.simplefilter('ignore', UserWarning)",
        "warnings.filters.pop(0)", "warns(x)"),
    State("filters of the notebook's own warnings",
        "import warnings\nwarnings.simplefilter('ignore', Mine)",
        "warnings.filters.pop(0)", "warns(x, Mine)"),
    State("decimal context", "import decimal\ndecimal.getcontext().prec = 5",
        "decimal.getcontext().prec = 28", "str(decimal.Decimal(1) / 7)"),
    State("decimal traps", "import decimal\ndecimal.getcontext().traps[decimal.FloatOperation] = True",
        "decimal.getcontext().traps[decimal.FloatOperation] = False",
        "decimal.getcontext().traps[decimal.FloatOperation]"),
    State("pandas options", "import pandas as pd\npd.set_option('display.precision', 2)",
        "pd.reset_option('display.precision')", "repr(pd.Series([x + 1 / 7]))"),
    State("sklearn.set_config", "import sklearn\nsklearn.set_config(assume_finite=True)",
        "sklearn.set_config(assume_finite=False)", "sklearn.get_config()"),
    State("Matplotlib's rcParams", "import matplotlib as mpl\nmpl.rcParams['lines.linewidth'] = 7",
        "mpl.rcParams['lines.linewidth'] = 1.5", "mpl.rcParams['lines.linewidth']"),
    State("precision of mpmath", "import mpmath\nmpmath.mp.dps = 40", "mpmath.mp.dps = 15",
        "str(mpmath.mpf(1) / 7)"),
    State("recursion limit", "import sys\nlimit = sys.getrecursionlimit()\nsys.setrecursionlimit(4321)",
        "sys.setrecursionlimit(limit)", "sys.getrecursionlimit()"),
    State("limit of digits", "import sys\nsys.set_int_max_str_digits(9000)",
        "sys.set_int_max_str_digits(4300)", "sys.get_int_max_str_digits()"),
    State("csv.field_size_limit", "import csv\ncsv.field_size_limit(500000)",
        "csv.field_size_limit(131072)", "csv.field_size_limit()"),
    State("dialects of csv", "import csv\ncsv.register_dialect('pipes', delimiter='|')",
        "csv.unregister_dialect('pipes')", "csv.list_dialects()"),
    State("socket time-out", "import socket\nsocket.setdefaulttimeout(12.5)",
        "socket.setdefaulttimeout(None)", "socket.getdefaulttimeout()"),
    State("locale", "import locale\nlocale.setlocale(locale.LC_NUMERIC, 'C.utf8')",
        "locale.setlocale(locale.LC_NUMERIC, 'C')", "locale.getlocale(locale.LC_NUMERIC)"),
    State("umask", "import os\nold = os.umask(0o027)", "os.umask(old)", "oct(mask())"),
    State("a replaced function",
        "import textwrap\nold_wrap = textwrap.shorten\ntextwrap.shorten = lambda *_: 'mine'",
        "textwrap.shorten = old_wrap", "textwrap.shorten('a b', 5)"),
    State("one that calls what it replaced",
        "old_norm = np.linalg.norm\n@functools.wraps(old_norm)\ndef norm(x): return -old_norm(x)\n"
        "np.linalg.norm = norm",
        "np.linalg.norm = old_norm", "float(np.linalg.norm([x, 1]))"),
    State("a method of a library's class", "def twice(self): return 2 * self\npd.Series.twice = twice",
        "del pd.Series.twice", "hasattr(pd.Series, 'twice') and list(pd.Series([x]).twice())"),
    State("an accessor of pandas",
        "@pd.api.extensions.register_series_accessor('tale')\n"
        "class Tale:\n    def __init__(self, own): self.n = len(own)",
        "del pd.Series.tale", "hasattr(pd.Series, 'tale') and pd.Series([x]).tale.n"),
    State("a builtin", "import builtins\nold_ascii = ascii\nbuiltins.ascii = lambda x: 'mine'",
        "builtins.ascii = old_ascii", "ascii(x)"),
    State("a codec",
        "import codecs\ndef search(name):\n    if name == 'upside':\n"
        "        return codecs.CodecInfo(lambda s, e='': (s[::-1].encode(), len(s)), None, name=name)\n"
        "codecs.register(search)", "codecs.unregister(search)", "coded('abc')"),
    State("environment", "import os\nos.environ['HOUSE'] = 'red'", "del os.environ['HOUSE']",
        "os.environ.get('HOUSE')"),
    State("working directory", "import os\nwas = os.getcwd(); os.chdir('/')", "os.chdir(was)",
        "os.getcwd()"),
    State("time zone", "import os, time\nos.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
        "del os.environ['TZ']; time.tzset()", "time.strftime('%H %Z', time.localtime(x))"),
]  # fmt: skip
HELPERS = """
import csv, decimal, functools, locale, os, socket, sys, textwrap, time, warnings
import matplotlib as mpl, mpmath, numpy as np, pandas as pd, sklearn

class Mine(UserWarning):
    pass

def warns(x, kind=UserWarning):
    try:
        warnings.warn("told", kind)
    except Warning:
        return "raised"
    return "shown"

def coded(text):
    try:
        return text.encode("upside")
    except LookupError:
        return "unknown"

def mask():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Umask")).split()[1], 8)

"""
READ = "".join(f"    there[{state.name!r}] = {state.read}\n" for state in STATES)
FUNCTION = f"{HELPERS}\ndef f(x):\n    there = {{}}\n{READ}    return there\n"


@contextmanager
def all_set(run: Run) -> Iterator[None]:
    """Set every state for a while, where the names of `HELPERS` are."""
    done = []
    try:
        for state in STATES:
            assert run(state.set).error is None
            done.append(state)
        yield
    finally:
        for state in reversed(done):
            assert run(state.unset).error is None


@pytest.mark.parametrize("way", WAYS)
def test_what_was_set_holds_there_as_in_the_plain_loop(way: str, along: Along, run: Run) -> None:
    run(FUNCTION)
    with all_set(run):
        there, plain = along(way, ""), along("the plain loop", "")
    differing = [name for name in plain[0] if there[0][name] != plain[0][name]]
    assert (differing, there) == ([], plain)


def test_a_later_job_finds_it_set_back(along: Along, run: Run) -> None:
    run(FUNCTION)
    with all_set(run):
        set_then = along("cloud.map", "")
    now = along("cloud.map", "")
    assert now == along("the plain loop", "")
    for was, later in zip(set_then, now):
        assert [name for name in was if was[name] == later[name]] == []


def test_what_cannot_be_sent_is_named_before_the_run(along: Along, run: Run) -> None:
    cell = "import threading, numpy as np\nlock = threading.Lock()\ndef f(x):\n    return x\n"
    cell += "np.seterrcall(lambda *_: lock.acquire())"
    try:
        with pytest.raises(CaptureError, match=r"`np.seterrcall`.* is set here"):
            along("cloud.map", cell)
    finally:
        assert run("np.seterrcall(None)").error is None


def test_the_usual_state_adds_nothing() -> None:
    code = "import numpy, pandas, sklearn, matplotlib, decimal, csv, locale, socket, mpmath\n"
    code += "from cloudbutton_backend.worker.process_state import current_state, state_in_results\n"
    code += "print(state_in_results(current_state()))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.strip() == "{}"
