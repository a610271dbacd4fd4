"""The kinds of messages between a kernel and its local workers, with their meta tuples."""

from __future__ import annotations

from typing import Final

# kernel -> worker
JOB: Final = 1
"""(job_id, seed, guard, result file, timed, cwd, environment or None, sys.path or None, displays,
stop on error); body: function"""
BLOB: Final = 2
"""(digest, nbytes, tag); one descriptor"""
SEGMENT: Final = 3
"""(segment id, nbytes, tag); one descriptor"""
BATCH: Final = 4
"""(batch, job_id, first ordinal, first item, slot or None); body: items unless in a slot"""
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
"""(batch, items run, revoked, slot kept, items could not be read)"""
