"""The messages between a worker process and the one that started it.

Each travels as its number and a plain tuple of its fields (see `wire`), with a body of raw bytes and file
descriptors where its docstring names them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from cloudbutton_backend.worker.batch_meta import PackedMeta


class JobMessage(NamedTuple):
    """A job that the worker is to know before its first batch of it. Body: the function."""

    job_id: str
    seed: int
    guard: str
    results: str
    """Path of the result file; empty where all results go through the socket."""
    results_key: bytes
    """Seals the records of that file."""
    timed: bool
    """Whether items have a time-out."""
    cwd: str
    environment: dict[str, str] | None
    """None: as it is."""
    path: tuple[str, ...] | None
    """For `sys.path`; None: as it is."""
    displays: bool
    """Whether the code may use IPython's `display`."""
    stop_on_error: bool


class BlobMessage(NamedTuple):
    """A captured value in shared memory. One descriptor."""

    digest: str
    nbytes: int
    tag: str | None
    """Its name, where there are no descriptors."""


class SegmentMessage(NamedTuple):
    """Shared memory for items. One descriptor."""

    segment: int
    nbytes: int
    tag: str | None


class BatchMessage(NamedTuple):
    """Items to run. Body: the items, unless they are in a segment, or came with the message before."""

    batch: int
    job_id: str
    base: int
    """Ordinal of the first item, see `status_page`."""
    first: int
    """Index of the first item."""
    n_items: int
    skip: int = 0
    """How many of the items that came are not for this message."""
    place: tuple[int, int, int] | None = None
    """Segment, offset and length of the items."""


class ForgetMessage(NamedTuple):
    """Jobs, blobs and segments that will not be used again."""

    jobs: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    segments: tuple[int, ...] = ()


class ImportsMessage(NamedTuple):
    """Modules to import while there is nothing else to do."""

    modules: tuple[str, ...]


class ReadyMessage(NamedTuple):
    """The worker has started."""

    pid: int


class ResultsMessage(NamedTuple):
    """The results of consecutive items. Body: the packed values, unless they are in the result file."""

    batch: int
    first: int
    n_items: int
    meta: PackedMeta
    place: tuple[str, int, int] | None
    """Path and offset in the result file, and the CRC of what is there."""
    length: int
    """Of the packed values."""


class EndedMessage(NamedTuple):
    """The worker is through with a batch, or its part of one."""

    batch: int
    ran: int
    is_spoilt: bool
    """Whether the process is of no more use, and ends."""
    keeps_segment: bool
    """Whether something still uses the segment in which the items came."""
    unreadable: bool
    """Whether the items could not be unpickled."""


class LinkMessage(NamedTuple):
    """What a kernel and its agent tell each other, see `ssh.link`. Body: as that says."""

    content: Any


Message = (
    JobMessage
    | BlobMessage
    | SegmentMessage
    | BatchMessage
    | ForgetMessage
    | ImportsMessage
    | ReadyMessage
    | ResultsMessage
    | EndedMessage
    | LinkMessage
)

#: By the number that stands for it.
TYPES: Final[dict[int, type[Message]]] = {
    1: JobMessage,
    2: BlobMessage,
    3: SegmentMessage,
    4: BatchMessage,
    5: ForgetMessage,
    6: ImportsMessage,
    16: ReadyMessage,
    17: ResultsMessage,
    18: EndedMessage,
    32: LinkMessage,
}
NUMBERS: Final[dict[type[Message], int]] = {kind: number for number, kind in TYPES.items()}


class Received(NamedTuple):
    """A message with what came with it."""

    message: Message
    body: bytes
    fds: list[int]
