from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.journal import JournalReader, database, schema
from cloudbutton_backend.storage import sqlite


def make(home: Path, version: int, *statements: str) -> Path:
    path = home / database.NAME
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.executescript(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def kept_aside(home: Path) -> list[Path]:
    return sorted(home.glob(f"{database.NAME}.*-??????"))


def test_a_new_journal_has_the_documented_version_and_mode(home: Path) -> None:
    connection, notice = database.open_for_writing(home)
    with closing(connection):
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1
    assert notice is None
    assert version_of(home / database.NAME) == schema.VERSION
    assert (home / database.NAME).stat().st_mode & 0o777 == 0o600


def test_two_that_begin_the_first_journal_together_wait_for_each_other(home: Path) -> None:
    path = make(home, 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(path)) as connection:
            pauses: list[float] = []
            database._use_wal(connection, lambda s: (pauses.append(s), other.rollback()))
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(pauses) == 1


def test_the_documentation_names_every_table_and_column(home: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "journal-format.md").read_text()
    connection, _ = database.open_for_writing(home)
    with closing(connection):
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = {row["name"] for row in tables.fetchall()} - {"sqlite_sequence"}
        for table in sorted(names):
            names |= {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
    assert [name for name in sorted(names) if f"`{name}`" not in document] == []


def test_a_newer_journal_is_left_alone_and_asks_for_an_upgrade(home: Path) -> None:
    path = make(home, schema.VERSION + 1, "CREATE TABLE jobs (id)")
    with pytest.raises(JournalError, match=r"newer.*pip install -U"):
        database.open_for_writing(home)
    with pytest.raises(JournalError, match=r"newer.*pip install -U"):
        database.open_for_reading(path)
    assert version_of(path) == schema.VERSION + 1


def test_an_older_journal_is_migrated_step_by_step(home: Path) -> None:
    make(home, 3, "CREATE TABLE jobs (id)", "INSERT INTO jobs VALUES ('kept')")
    steps = {
        3: ["ALTER TABLE jobs ADD COLUMN mood TEXT DEFAULT 'calm'"],
        4: ["ALTER TABLE jobs RENAME COLUMN mood TO temper"],
    }
    connection, notice = database.open_for_writing(home, version=5, migrations=steps)
    with closing(connection):
        assert tuple(connection.execute("SELECT id, temper FROM jobs").fetchone()) == (
            "kept",
            "calm",
        )
    assert notice is None
    assert version_of(home / database.NAME) == 5


def shape_of(connection: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
    """Return the columns of each table, in whatever order, and the text of each index."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL")
    return {
        name: {tuple(column)[1:] for column in connection.execute(f"PRAGMA table_info({name})")}
        if kind == "table"
        else {(" ".join(sql.split()),)}
        for kind, name, sql in found.fetchall()
    }


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_a_journal_of_each_former_version_becomes_what_a_new_one_is(
    home: Path, tmp_path: Path, version: int
) -> None:
    make(home, version, former(version))
    (tmp_path / "new").mkdir()
    connection, notice = database.open_for_writing(home)
    with closing(connection), closing(database.open_for_writing(tmp_path / "new")[0]) as new:
        assert notice is None
        assert shape_of(connection) == shape_of(new)


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_what_a_former_version_wrote_is_read_as_it_was(home: Path, version: int) -> None:
    make(home, version, former(version))
    reader = JournalReader(home)
    (job,) = reader.jobs()
    assert (job.id, job.name, job.n_items, job.done, job.options) == (
        "abcd2345", "scores", 10, 10, {"retries": 1},
    )  # fmt: skip
    assert (job.committed, job.cached, job.estimate_seconds, job.worker_memory) == (
        0,
        0,
        None,
        None,
    )
    assert [batch.count for batch in reader.batches(job.id)] == [10]
    assert [error.type_name for error in reader.errors(job.id)] == ["ValueError"]
    assert [log.text for log in reader.log(job.id)] == ["hello"]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("local", ("local", False, True)),
        ("lambda", ("lambda", False, False)),
        ("lambda (emulated)", ("lambda", True, False)),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_what_a_name_told_of_a_backend_is_told_by_columns(
    home: Path, version: int, recorded: str, expected: tuple[str, bool, bool]
) -> None:
    make(home, version, former(version), f"UPDATE jobs SET backend = '{recorded}'")
    (job,) = JournalReader(home).jobs()
    assert job.ran_on == expected[:2]
    assert str(job.ran_on) == recorded
    stored = JournalReader(home).job(job.id)
    assert (stored.emulated, stored.on_this_machine) == expected[1:]


def former(version: int) -> str:
    """Return what a journal of a former version held, as SQL."""
    return (Path(__file__).parent / "versions" / f"{version}.sql").read_text(encoding="utf-8")


def test_a_migration_that_fails_changes_nothing(home: Path) -> None:
    path = make(home, 3, "CREATE TABLE jobs (id)")
    steps = {3: ["ALTER TABLE jobs ADD COLUMN mood", "CREATE TABLE jobs (id)"]}
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        database.open_for_writing(home, version=4, migrations=steps)
    assert version_of(path) == 3
    with closing(sqlite3.connect(path)) as connection:
        assert len(connection.execute("PRAGMA table_info(jobs)").fetchall()) == 1


def test_an_older_journal_without_a_way_here_is_kept_aside(home: Path) -> None:
    make(home, 0, "CREATE TABLE jobs (id)", "INSERT INTO jobs VALUES ('kept')")
    connection, notice = database.open_for_writing(home)
    connection.close()
    (kept,) = kept_aside(home)
    assert kept.name in (notice or "")
    with closing(sqlite3.connect(kept)) as old:
        assert old.execute("SELECT id FROM jobs").fetchall() == [("kept",)]


def test_a_damaged_journal_is_kept_aside(home: Path) -> None:
    (home / database.NAME).write_bytes(b"not a database at all, whatever it was" * 200)
    connection, notice = database.open_for_writing(home)
    with closing(connection):
        assert connection.execute("SELECT count(*) FROM jobs").fetchone()[0] == 0
    (kept,) = kept_aside(home)
    assert kept.name in (notice or "")
    assert kept.read_bytes().startswith(b"not a database")


def test_of_two_that_find_the_damage_the_second_spares_the_new_journal(home: Path) -> None:
    path = home / database.NAME
    path.write_bytes(b"damaged")
    path.with_name(path.name + "-wal").write_bytes(b"its log")
    seen = database.inode(path)
    assert database.move_aside(path, "corrupt", "is damaged", found=seen)
    assert not path.with_name(path.name + "-wal").exists()
    with path.open("wb") as new:
        new.write(b"new")
    assert database.move_aside(path, "corrupt", "is damaged", found=seen) is None
    assert path.read_bytes() == b"new"


def test_reading_says_that_a_journal_is_damaged_and_moves_nothing(home: Path) -> None:
    path = home / database.NAME
    path.write_bytes(b"not a database at all, whatever it was" * 200)
    with pytest.raises(JournalError, match=r"not a database.*keeps it under another name"):
        database.open_for_reading(path)
    assert path.exists()


def test_reading_where_nothing_is_makes_nothing(home: Path) -> None:
    assert database.open_for_reading(home / database.NAME) is None
    assert list(home.iterdir()) == []


def test_a_journal_that_is_begun_while_a_reader_looks_is_not_taken_for_an_old_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(home, 0, "PRAGMA journal_mode = WAL")
    read_version = sqlite.version_of

    def begun_just_after(connection: sqlite3.Connection) -> int:
        found = read_version(connection)
        monkeypatch.setattr(sqlite, "version_of", read_version)
        database.open_for_writing(home)[0].close()
        return found

    monkeypatch.setattr(sqlite, "version_of", begun_just_after)
    assert database.open_for_reading(path) is None
    connection = database.open_for_reading(path)
    assert connection is not None
    connection.close()


def test_a_reader_cannot_write(home: Path) -> None:
    database.open_for_writing(home)[0].close()
    connection = database.open_for_reading(home / database.NAME)
    assert connection is not None
    with closing(connection), pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM jobs")


def test_a_journal_that_another_process_has_locked_is_not_read_as_it_once_was(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(home / database.NAME, isolation_level=None)) as somebody:
        somebody.execute("PRAGMA journal_mode = WAL")
        somebody.execute("PRAGMA locking_mode = EXCLUSIVE")
        for statement in schema.TABLES:
            somebody.execute(statement)
        with pytest.raises(JournalError, match="locked"):
            database.open_for_reading(home / database.NAME)
