"""Database triggers that refuse to change or delete timeline, evidence and edition rows, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper

# Each table with what makes a row the same row, besides its id: SQLite's INSERT OR REPLACE deletes such a row without
# asking any trigger on DELETE.
TABLES = {
    "incidents_timelineentry": ("incident_id", "seq"),
    "incidents_evidence": ("incident_id", "number"),
    "incidents_blob": ("sha256",),
    "incidents_postmortemedition": ("postmortem_id", "number"),
}


def install(connection: BaseDatabaseWrapper, tables: Iterable[str] = TABLES) -> None:
    """Put the triggers on the tables; doing it twice is harmless."""
    remove(connection, tables)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in tables:
                refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                same = " AND ".join(f"{column} = NEW.{column}" for column in TABLES[table])
                there = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id OR ({same}))"  # noqa: S608  our own names
                cursor.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}")
                cursor.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
                cursor.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {refuse}")
            return
        cursor.execute(
            "CREATE OR REPLACE FUNCTION backstop_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        for table in tables:
            cursor.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION backstop_append_only()"
            )


def remove(connection: BaseDatabaseWrapper, tables: Iterable[str] = TABLES) -> None:
    """Take the triggers off: for migrations that change these tables, and for the tests' clean-up."""
    with connection.cursor() as cursor:
        for table in tables:
            if connection.vendor == "sqlite":
                for act in ("update", "delete", "replace"):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{act}")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
