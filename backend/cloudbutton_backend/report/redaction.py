"""Removes from a page that is passed on: paths of this machine, and what looks like a secret."""

from __future__ import annotations

import re
from typing import Final

#: An absolute path, on POSIX or Windows, in any text; not the `/s` of a rate, nor a URL's.
_PATH: Final = re.compile(
    r"""(?<![\w/:.~\\<-])(?:[A-Za-z]:[\\/]|/(?=[^\s/'"`,;()<>]+/))[^\s'"`,;()<>]*[^\s'"`,;()<>.:]"""
)
#: The same between quotation marks, where it may hold spaces.
_QUOTED_PATH: Final = re.compile(r"""(['"`])(?:[A-Za-z]:[\\/]|/(?!/))[^'"`\n]*\1""")

HIDDEN: Final = "•••"

_SECRETS: Final = (
    # What is called like a secret, with what it is set to: `password = "…"`, `"api_key": "…"`.
    (
        re.compile(
            r"""(?i)((?:password|passwd|secret|token|api_?key|access_?key|credential)\w{0,40}['"]?\s*(?::\s*\w+\s*)?[=:]\s*)"""
            r"""(['"])(?:(?!\2).)+\2"""
        ),
        rf"\1\2{HIDDEN}\2",
    ),
    (
        re.compile(r"(?i)((?:password|passwd|secret|token|api_?key)=)[^\s&'\",;)]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{12,}"), rf"\1\2{HIDDEN}"),
    # https://user:password@…
    (re.compile(r"(://[^\s/:@'\"]{0,100}:)[^\s/@'\"]{1,200}(@)"), rf"\1{HIDDEN}\2"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|sk-|xox[abpr]-|glpat-|hf_)[\w-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]*"), HIDDEN),  # a JSON web token
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.S), HIDDEN),
)  # fmt: skip


def without_secrets(text: str) -> str:
    """Return text with what looks like a secret taken out; for what the user wrote."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def without_places(text: str) -> str:
    """Return text with each absolute path cut to its last part, and without secrets; for all else."""
    text = _QUOTED_PATH.sub(lambda found: found[1] + last_part(found[0][1:-1]) + found[1], text)
    return without_secrets(_PATH.sub(lambda found: last_part(found[0]), text))


def last_part(path: str) -> str:
    """Return the name of a file without its directory."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
