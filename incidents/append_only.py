"""Database triggers that refuse to change or delete timeline and evidence rows, on SQLite and PostgreSQL."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

TABLES = ["incidents_timelineentry", "incidents_evidence", "incidents_blob"]


def install(connection: BaseDatabaseWrapper, tables: list[str] = TABLES) -> None:
    """Put the triggers on the tables; doing it twice is harmless."""
    remove(connection, tables)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in tables:
                for act in ("UPDATE", "DELETE"):
                    cursor.execute(
                        f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                    )
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


def remove(connection: BaseDatabaseWrapper, tables: list[str] = TABLES) -> None:
    """Take the triggers off: for migrations that change these tables, and for the tests' clean-up."""
    with connection.cursor() as cursor:
        for table in tables:
            if connection.vendor == "sqlite":
                for act in ("update", "delete"):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{act}")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
