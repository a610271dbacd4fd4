"""The functions and layers of the emulated account: their configuration, and their code on disk."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits

LATEST: Final = "$LATEST"
ACCOUNT: Final = "123456789012"
"""moto's, for credentials that it does not know."""


class RequestRejected(Exception):
    """The emulated service refuses a request."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, kind, message)
        self.status, self.kind, self.message = status, kind, message


Key = tuple[str, str]
"""Region and name of a function."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionVersion:
    """One version of a function, as it was after one change: another change makes another one."""

    name: str
    region: str
    arn: str
    """Without a version."""
    version: str
    handler: str
    runtime: str
    role: str
    timeout: float
    memory: int
    architecture: str
    variables: Mapping[str, str]
    code: Path
    """The folder with the unpacked deployment package."""
    layers: Path | None
    """The folder that stands for /opt, if there are layers."""
    layer_arns: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The key that its versions share."""
        return self.region, self.name


@dataclass
class FunctionRecord:
    """The account's record of a function, beyond its versions."""

    versions: dict[str, FunctionVersion]
    ready_at: float
    """When it is Active, or its last update Successful."""
    reserved: int | None = None
    retries: int = 2
    is_new: bool = True
    """Whether what it waits for is its creation, not an update."""


@dataclass(frozen=True)
class FunctionReference:
    """A function as a request names it."""

    name: str
    version: str | None

    @classmethod
    def parse(cls, text: str, qualifier: str | None) -> FunctionReference:
        """Read a name, a partial ARN or an ARN, each with or without a version."""
        parts = text.split(":")
        if "function" in parts[:-1]:
            parts = parts[parts.index("function") + 1 :]
        return cls(parts[0], parts[1] if len(parts) > 1 else qualifier)


class FunctionStore:
    """Functions and layers by name, and their code, unpacked below one folder."""

    def __init__(self, folder: Path, limits: LambdaLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._layers: dict[str, bytes] = {}
        self.entries: dict[Key, FunctionRecord] = {}

    def find(
        self, region: str, reference: FunctionReference
    ) -> tuple[FunctionRecord, FunctionVersion]:
        """Return a function, or refuse as Lambda does if there is none."""
        entry = self.entries.get((region, reference.name))
        version = reference.version or LATEST
        function = entry.versions.get(version) if entry else None
        if entry is None or function is None:
            arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{reference.name}:{version}"
            raise RequestRejected(404, "ResourceNotFoundException", f"Function not found: {arn}")
        return entry, function

    def has(self, function: FunctionVersion) -> bool:
        """Whether `function` is what its name and version still mean."""
        entry = self.entries.get(function.key)
        return entry is not None and entry.versions.get(function.version) is function

    def add_layer(self, arn: str, archive: bytes) -> None:
        unzipped_size(archive)
        self._layers[arn] = archive

    def put(
        self, configuration: Mapping[str, Any], archive: bytes | None, ready_at: float
    ) -> FunctionVersion:
        """Create or change a function as its configuration now says, with new code or its old."""
        arn = configuration["FunctionArn"]
        region, name = arn.split(":")[3], configuration["FunctionName"]
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        entry = self.entries.get((region, name))
        if archive is not None:
            code = self._unpack([archive], "code")
        else:
            assert entry is not None, "only a creation lacks older code, and it has new code"
            code = entry.versions[LATEST].code
        layers = [layer["Arn"] for layer in configuration.get("Layers") or []]
        function = FunctionVersion(
            name=name,
            region=region,
            arn=arn,
            version=LATEST,
            handler=configuration.get("Handler", ""),
            runtime=configuration.get("Runtime", ""),
            role=configuration.get("Role", ""),
            timeout=float(configuration.get("Timeout") or 3),
            memory=int(configuration.get("MemorySize") or 128),
            architecture=(configuration.get("Architectures") or ["x86_64"])[0],
            variables=(configuration.get("Environment") or {}).get("Variables") or {},
            code=code,
            layers=self._unpack([self._layers[a] for a in layers], "opt") if layers else None,
            layer_arns=tuple(layers),
        )
        if entry is None:
            self.entries[region, name] = FunctionRecord({LATEST: function}, ready_at)
        else:
            entry.versions[LATEST] = function
            entry.ready_at, entry.is_new = ready_at, False
        return function

    def layers_of(self, region: str, name: str) -> list[str]:
        """Return the ARNs of the layers that a function has now."""
        entry = self.entries.get((region, name))
        return list(entry.versions[LATEST].layer_arns) if entry else []

    def publish(self, region: str, name: str, version: str) -> None:
        """Keep the function as it is now under a version number."""
        entry = self.entries[region, name]
        entry.versions[version] = replace(entry.versions[LATEST], version=version)

    def drop(self, region: str, name: str, version: str | None) -> None:
        if version is None:
            self.entries.pop((region, name), None)
        elif (region, name) in self.entries:
            self.entries[region, name].versions.pop(version, None)

    def check_size(self, archive: bytes | None, region: str, name: str, layers: list[str]) -> None:
        """Refuse code that is too large, alone or with its layers, and layers that do not exist."""
        if len(layers) > self._limits.layers:
            raise invalid(f"Cannot reference more than {self._limits.layers} layers.")
        for arn in layers:
            if arn not in self._layers:
                raise invalid(f"Layer version {arn} does not exist.")
        size = sum(unzipped_size(self._layers[arn]) for arn in layers)
        if archive is not None:
            size += unzipped_size(archive)
        elif (region, name) in self.entries:
            code = self.entries[region, name].versions[LATEST].code
            size += sum(path.stat().st_size for path in code.rglob("*") if path.is_file())
        if size > self._limits.unzipped_bytes:
            limit = self._limits.unzipped_bytes
            what = "Function code combined with layers exceeds the maximum allowed size of"
            if layers:
                raise invalid(f"{what} {limit} bytes. The actual size is {size} bytes.")
            raise invalid(f"Unzipped size must be smaller than {limit} bytes")

    def _unpack(self, archives: list[bytes], kind: str) -> Path:
        """Unpack archives over one another; the same ones only once."""
        digest = hashlib.sha256(b"".join(hashlib.sha256(a).digest() for a in archives))
        folder = self._folder / f"{kind}-{digest.hexdigest()[:16]}"
        if not folder.exists():
            folder.mkdir(parents=True)
            for archive in archives:
                with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                    opened.extractall(folder)
                    for member in opened.infolist():
                        mode = member.external_attr >> 16 & 0o777
                        if mode and not member.is_dir():
                            (folder / member.filename).chmod(mode | 0o444)
        return folder


def invalid(message: str) -> RequestRejected:
    """Return the refusal of a value that makes no sense."""
    return RequestRejected(400, "InvalidParameterValueException", message)


def unzipped_size(archive: bytes) -> int:
    """Return how large the files of a zip archive are; refuse what is not one, as Lambda does."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return sum(member.file_size for member in opened.infolist())
    except zipfile.BadZipFile:
        raise invalid(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        ) from None


def decoded(text: str) -> bytes:
    """Return the bytes of a zip file in a request."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise RequestRejected(
            400, "SerializationException", "The zip file is not base64."
        ) from None
