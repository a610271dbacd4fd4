"""The functions' archive: small, the same wherever it is made, and whole."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from cloudbutton_backend.backends.aws_lambda.function_archive import (
    HANDLER,
    code_sha256,
    function_zip,
)


def test_the_archive_is_the_same_each_time_it_is_made() -> None:
    first = function_zip("3.11")
    function_zip.cache_clear()
    assert function_zip("3.11") == first


def test_the_archive_holds_only_code_that_everybody_may_read() -> None:
    with zipfile.ZipFile(io.BytesIO(function_zip("3.11"))) as archive:
        entries = archive.infolist()
    assert {entry.filename.partition("/")[0] for entry in entries} == {
        "cloudbutton_backend",
        "cloudpickle",
    }
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_the_archive_is_small() -> None:
    assert len(function_zip("3.11")) < 350_000


def test_its_digest_is_written_as_lambda_does() -> None:
    assert code_sha256(b"") == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_handler_can_be_imported_from_the_archive_and_nothing_else(tmp_path: Path) -> None:
    archive = tmp_path / "function.zip"
    archive.write_bytes(function_zip("3.11"))
    module, _, handler = HANDLER.rpartition(".")
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        f"import {module} as module; print(module.__file__, callable(module.{handler}))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.split() == [f"{archive}/{module.replace('.', '/')}.py", "True"]
