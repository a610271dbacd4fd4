"""The tables of journal.db and how one version becomes the next; told in docs/journal-format.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

#: Kept in `PRAGMA user_version`. A change of a table raises it and adds a migration.
VERSION: Final = 5

_BY_CODE: Final = (
    # What a piece of code took and cost before is asked with each job.
    "CREATE INDEX jobs_by_code ON jobs (code_digest, created)",
)

_BY_AGE: Final = (
    # Spending by day is answered from this one alone.
    "CREATE INDEX jobs_by_age ON jobs (created, backend, emulated, spend, estimate)",
)

_INDEXES_OF_JOBS: Final = (
    "CREATE INDEX jobs_by_state ON jobs (state, created)",
    "CREATE INDEX jobs_by_notebook ON jobs (notebook, created)",
    "CREATE INDEX jobs_by_change ON jobs (changed)",
)

#: What lets a reader ask only for what is new, however many jobs there are.
_CHANGES: Final = (
    "CREATE TABLE changes (epoch TEXT NOT NULL, latest INTEGER NOT NULL, forgotten INTEGER NOT NULL)",
    "INSERT INTO changes VALUES (lower(hex(randomblob(8))), 0, 0)",
    "CREATE TABLE removed (changed INTEGER NOT NULL, job_id TEXT NOT NULL)",
    "CREATE INDEX removed_by_change ON removed (changed)",
)

#: What jobs may spend in a day. These rows outlive their jobs: removing a job gives no money back.
_ALLOWANCES: Final = (
    """
    CREATE TABLE allowances (
        job_id TEXT PRIMARY KEY,
        day TEXT NOT NULL,
        granted REAL NOT NULL,
        amount REAL NOT NULL,
        settled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
)

#: Until version 3, the name of the backend told what these two columns do.
FROM_NAMES: Final = (
    "UPDATE jobs SET on_this_machine = 1 WHERE backend = 'local'",
    "UPDATE jobs SET emulated = 1, backend = replace(backend, ' (emulated)', '') "
    "WHERE backend LIKE '% (emulated)'",
)

TABLES: Final[Sequence[str]] = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        backend TEXT NOT NULL,
        n_items INTEGER,
        created REAL NOT NULL,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        token TEXT NOT NULL DEFAULT '',
        notebook TEXT,
        cell_id TEXT,
        source TEXT,
        code_digest TEXT,
        seed TEXT NOT NULL DEFAULT '0',
        options TEXT NOT NULL DEFAULT '{}',
        capture TEXT NOT NULL DEFAULT '{}',
        state TEXT NOT NULL DEFAULT 'running',
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        workers INTEGER NOT NULL DEFAULT 0,
        started REAL,
        ended REAL,
        task_seconds REAL NOT NULL DEFAULT 0,
        spend REAL NOT NULL DEFAULT 0,
        expected_spend REAL,
        error TEXT,
        warnings TEXT NOT NULL DEFAULT '[]',
        retried INTEGER NOT NULL DEFAULT 0,
        lost_workers INTEGER NOT NULL DEFAULT 0,
        heartbeat REAL NOT NULL DEFAULT 0,
        estimate REAL,
        estimate_low REAL,
        estimate_high REAL,
        budget REAL,
        plan TEXT,
        changed INTEGER NOT NULL DEFAULT 0,
        errors_changed INTEGER NOT NULL DEFAULT 0,
        committed REAL NOT NULL DEFAULT 0,
        cached INTEGER NOT NULL DEFAULT 0,
        estimate_seconds REAL,
        estimate_seconds_low REAL,
        estimate_seconds_high REAL,
        estimate_basis TEXT,
        worker_memory INTEGER,
        emulated INTEGER NOT NULL DEFAULT 0,
        on_this_machine INTEGER NOT NULL DEFAULT 0,
        waited REAL NOT NULL DEFAULT 0,
        at_most INTEGER NOT NULL DEFAULT 0,
        was_read INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    *_BY_AGE,
    *_INDEXES_OF_JOBS,
    *_BY_CODE,
    *_CHANGES,
    *_ALLOWANCES,
    """
    CREATE TABLE batches (
        job_id TEXT NOT NULL,
        batch INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        worker TEXT NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        start REAL NOT NULL,
        "end" REAL NOT NULL,
        status TEXT NOT NULL,
        failed INTEGER NOT NULL,
        cpu REAL NOT NULL,
        memory_peak INTEGER NOT NULL,
        cost REAL NOT NULL
    )
    """,
    "CREATE INDEX batches_by_job ON batches (job_id)",
    """
    CREATE TABLE commands (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL,
        verb TEXT NOT NULL,
        args TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        taken REAL
    )
    """,
    "CREATE INDEX commands_waiting ON commands (job_id) WHERE taken IS NULL",
    """
    CREATE TABLE errors (
        job_id TEXT NOT NULL,
        item_index INTEGER NOT NULL,
        item TEXT NOT NULL,
        type_name TEXT NOT NULL,
        message TEXT NOT NULL,
        traceback TEXT NOT NULL,
        PRIMARY KEY (job_id, item_index)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL,
        item INTEGER,
        stream TEXT NOT NULL,
        text TEXT NOT NULL
    )
    """,
    "CREATE INDEX logs_by_job ON logs (job_id, id)",
)

#: From each older version, the statements that make the next one of it.
MIGRATIONS: Final[Mapping[int, Sequence[str]]] = {
    1: (
        "ALTER TABLE jobs ADD COLUMN estimate REAL",
        "ALTER TABLE jobs ADD COLUMN estimate_low REAL",
        "ALTER TABLE jobs ADD COLUMN estimate_high REAL",
        "ALTER TABLE jobs ADD COLUMN budget REAL",
        "ALTER TABLE jobs ADD COLUMN plan TEXT",
        "ALTER TABLE jobs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN errors_changed INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX jobs_by_age",
        *_INDEXES_OF_JOBS,
        *_CHANGES,
    ),
    2: (
        "ALTER TABLE jobs ADD COLUMN committed REAL NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN cached INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN estimate_seconds REAL",
        "ALTER TABLE jobs ADD COLUMN estimate_seconds_low REAL",
        "ALTER TABLE jobs ADD COLUMN estimate_seconds_high REAL",
        "ALTER TABLE jobs ADD COLUMN estimate_basis TEXT",
        "ALTER TABLE jobs ADD COLUMN worker_memory INTEGER",
        *_BY_CODE,
        *_ALLOWANCES,
    ),
    3: (
        "ALTER TABLE jobs ADD COLUMN emulated INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN on_this_machine INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN waited REAL NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN at_most INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX IF EXISTS jobs_by_age",
        *_BY_AGE,
        *FROM_NAMES,
    ),
    4: (
        "ALTER TABLE jobs ADD COLUMN was_read INTEGER NOT NULL DEFAULT 0",
        "UPDATE jobs SET was_read = 1",
    ),
}

#: Tables with rows of a job, which go when the job is removed.
OF_A_JOB: Final = ("batches", "commands", "errors", "logs")

#: Columns of `jobs` that may change after a job was added.
MUTABLE: Final = frozenset(
    {
        "name", "n_items", "state", "done", "failed", "running", "workers", "started", "ended",
        "task_seconds", "waited", "spend", "at_most", "expected_spend", "error", "warnings", "retried",
        "lost_workers",
        "capture", "estimate", "estimate_low", "estimate_high", "estimate_basis", "estimate_seconds",
        "estimate_seconds_low", "estimate_seconds_high", "budget", "committed", "cached", "plan",
        # Another process goes on with it, perhaps on another backend.
        "pid", "host", "token", "backend", "emulated", "on_this_machine", "worker_memory", "notebook",
        "cell_id",
        "was_read",
    }
)  # fmt: skip
