"""The kinds of messages between a worker process and the one that started it, with their meta tuples."""

from __future__ import annotations

from typing import Final

# kernel -> worker
JOB: Final = 1
"""(job_id, seed, guard, result file or "", timed, cwd, environment or None, sys.path or None, displays,
stop on error); body: function"""
BLOB: Final = 2
"""(digest, nbytes, tag); one descriptor"""
SEGMENT: Final = 3
"""(segment id, nbytes, tag); one descriptor"""
BATCH: Final = 4
"""(batch, job_id, first ordinal, first item, count, items before it, slot or None); body: items unless
in a slot or those of the message before, behind what that one ran"""
FORGET: Final = 5
"""(job ids, digests, segment ids)"""
IMPORTS: Final = 6
"""(module names,)"""

# worker -> kernel
READY: Final = 16
"""(pid,)"""
RESULTS: Final = 17
"""(batch, first item, count, meta, reference or None, length); body: payload unless in a file"""
ENDED: Final = 18
"""(batch, items run, process is spoilt and ends, slot kept, items could not be read)"""
