-- What Cloud Button wrote while its journal had version 4.
CREATE TABLE allowances (
        job_id TEXT PRIMARY KEY,
        day TEXT NOT NULL,
        granted REAL NOT NULL,
        amount REAL NOT NULL,
        settled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    ;
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
    );
INSERT INTO "batches" VALUES('abcd2345',0,1,'local-1',0,10,1700000001.0,1700000009.0,'done',0,8.0,50000000,0.0);
CREATE TABLE changes (epoch TEXT NOT NULL, latest INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO "changes" VALUES('0123456789abcdef',0,0);
CREATE TABLE commands (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL,
        verb TEXT NOT NULL,
        args TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        taken REAL
    );
CREATE TABLE errors (
        job_id TEXT NOT NULL,
        item_index INTEGER NOT NULL,
        item TEXT NOT NULL,
        type_name TEXT NOT NULL,
        message TEXT NOT NULL,
        traceback TEXT NOT NULL,
        PRIMARY KEY (job_id, item_index)
    ) WITHOUT ROWID
    ;
INSERT INTO "errors" VALUES('abcd2345',3,'3','ValueError','no','');
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
        errors_changed INTEGER NOT NULL DEFAULT 0
    , committed REAL NOT NULL DEFAULT 0, cached INTEGER NOT NULL DEFAULT 0, estimate_seconds REAL, estimate_seconds_low REAL, estimate_seconds_high REAL, estimate_basis TEXT, worker_memory INTEGER, emulated INTEGER NOT NULL DEFAULT 0, on_this_machine INTEGER NOT NULL DEFAULT 0, waited REAL NOT NULL DEFAULT 0, at_most INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID
    ;
INSERT INTO "jobs" VALUES('abcd2345','scores','map','local',10,1700000000.0,4242,'here','',NULL,NULL,'fit(C)','d1','0','{"retries": 1}','{}','done',10,0,0,0,1700000000.5,1700000009.5,18.0,0.0,NULL,NULL,'[]',0,0,0.0,NULL,NULL,NULL,NULL,NULL,0,0,0.0,0,NULL,NULL,NULL,NULL,NULL,0,1,0.0,0);
CREATE TABLE logs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL,
        item INTEGER,
        stream TEXT NOT NULL,
        text TEXT NOT NULL
    );
INSERT INTO "logs" VALUES(1,'abcd2345',0,'stdout','hello');
CREATE TABLE removed (changed INTEGER NOT NULL, job_id TEXT NOT NULL);
CREATE INDEX jobs_by_state ON jobs (state, created);
CREATE INDEX jobs_by_notebook ON jobs (notebook, created);
CREATE INDEX jobs_by_change ON jobs (changed);
CREATE INDEX removed_by_change ON removed (changed);
CREATE INDEX batches_by_job ON batches (job_id);
CREATE INDEX commands_waiting ON commands (job_id) WHERE taken IS NULL;
CREATE INDEX logs_by_job ON logs (job_id, id);
CREATE INDEX jobs_by_code ON jobs (code_digest, created);
CREATE INDEX jobs_by_age ON jobs (created, backend, emulated, spend, estimate);
