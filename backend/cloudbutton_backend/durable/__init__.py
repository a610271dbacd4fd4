"""Jobs on disk: what is needed to resume a job after its kernel has died.

::

    launcher ──▶ Checkpoint ──▶ jobs/<id>.job, jobs/<id>.items, blobs/<digest>
                                   │
    attach ID ──▶ journal row ─────┤
                   │               ▼
                   ├─ done        salvage: results on disk ──▶ result ranges
                   ├─ runs        Follower: reads along, takes over if its process dies
                   └─ lost, failed, cancelled ──▶ ownership ──▶ a driver, for what is missing
"""
