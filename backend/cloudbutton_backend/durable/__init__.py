"""What outlives a kernel: what a job needs to be continued, and continuing it.

::

    launcher ──▶ Checkpoint ──▶ jobs/<id>.job, jobs/<id>.items, blobs/<digest>
                                   │
    attach ID ──▶ journal row ─────┤
                   │               ▼
                   ├─ done        salvage: results on disk ──▶ result ranges
                   ├─ runs        Follower: reads along, takes over if its process dies
                   └─ lost, failed, cancelled ──▶ ownership ──▶ a driver, for what is missing
"""
