"""Statements that are written once and filled in each time, for what happens at every step, alert and look.

Django takes longer to write most of the engine's statements than a database to answer them (docs/decisions/0020). A
query that is asked again and again with other values is given as a function; Django writes it at the first call. Rows
that are changed or added are written straight from their columns: no `save()`, no signals, no expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.query import FlatValuesListIterable, ModelIterable, get_related_populators
from django.db.transaction import TransactionManagementError

M = TypeVar("M", bound=Model)
R = TypeVar("R")
Value = int | str | date


class Written(Generic[R]):
    """A query by the values that change from call to call; gives its rows, as iterating over the queryset would.

    Values are whole numbers, texts, days and moments, each used in the query as it is, as often as wanted; there is no
    None, and no other value may change what is asked. What of a row is not read (`only`, `defer`) is fetched when it is
    used.
    """

    def __init__(self, ask: Callable[..., QuerySet[Any, R]]) -> None:
        self._ask = ask
        # By vendor, since each writes in its own words.
        self._ways: dict[str, _Way] = {}

    def __call__(self, *values: Value) -> list[R]:
        """The rows for these values. In a transaction only, where the query locks."""
        way = self._ways.get(connection.vendor)
        if way is None:
            way = self._ways[connection.vendor] = _Way(self._ask, values)
        return cast("list[R]", way.rows(values))

    def first(self, *values: Value) -> R | None:
        """The first of them, as the query orders them."""
        found = self(*values)
        return found[0] if found else None


class HowMany:
    """How many rows a query finds."""

    def __init__(self, ask: Callable[..., QuerySet[Any, Any]]) -> None:
        self._ask = ask
        self._ways: dict[str, _Words] = {}

    def __call__(self, *values: Value) -> int:
        """The number for these values."""
        words = self._ways.get(connection.vendor)
        if words is None:
            marks = _marks(values)
            sql, params = self._ask(*marks).order_by().values("pk").query.get_compiler(connection=connection).as_sql()
            count = f"SELECT COUNT(*) FROM ({sql}) AS found"  # noqa: S608  as Django wrote it
            words = self._ways[connection.vendor] = _Words(count, params, marks)
        return int(words.ask(values)[0][0])


class Which:
    """Which of several queries find anything, asked as one statement; all take the same values."""

    def __init__(self, asks: Mapping[str, Callable[..., QuerySet[Any, Any]]]) -> None:
        self._asks = asks
        self._ways: dict[str, _Words] = {}

    def __call__(self, *values: Value) -> set[str]:
        """The names of those that do."""
        words = self._ways.get(connection.vendor)
        if words is None:
            words = self._ways[connection.vendor] = self._words(values)
        found = words.ask(values)[0]
        return {name for name, is_there in zip(self._asks, found, strict=True) if is_there}

    def _words(self, values: tuple[Value, ...]) -> _Words:
        marks = _marks(values)
        each = [ask(*marks).query.exists().get_compiler(connection=connection).as_sql() for ask in self._asks.values()]
        sql = "SELECT " + ", ".join(f"EXISTS({one})" for one, _ in each)
        return _Words(sql, [given for _, params in each for given in params], marks)


class _Words:
    """A statement, and which of its parameters are values of the caller's."""

    def __init__(self, sql: str, params: Iterable[Any], marks: list[Value]) -> None:
        self.sql = sql
        sent = [_sent(mark, _here()) for mark in marks]
        # The number of a value, or what is always the same.
        self.given = [(sent.index(one), None) if one in sent else (None, one) for one in params]
        missed = set(range(len(marks))) - {number for number, _ in self.given}
        if missed:
            raise ValueError(f"values {sorted(missed)} are not used as they are given: {self.sql}")

    def ask(self, values: tuple[Value, ...]) -> list[tuple[Any, ...]]:
        here = _here()
        sent = [_sent(value, here) for value in values]
        with here.cursor() as cursor:
            cursor.execute(self.sql, [one if number is None else sent[number] for number, one in self.given])
            return cast("list[tuple[Any, ...]]", cursor.fetchall())


class _Way:
    """What Django found out about a query: its words, and what becomes of a row that it gives."""

    def __init__(self, ask: Callable[..., QuerySet[Any, Any]], values: tuple[Value, ...]) -> None:
        marks = _marks(values)
        asked = ask(*marks)
        query = asked.query
        compiler = query.get_compiler(connection=connection)
        self.locks = query.select_for_update
        sql, params = compiler.as_sql()
        self.words = _Words(sql, params, marks)
        # Set by `as_sql`.
        shape, select = compiler.klass_info, compiler.select
        assert select is not None
        found = compiler.get_converters([column[0] for column in select])
        self.converters = [(place, one, column) for place, (each, column) in found.items() for one in each]
        self.made: Callable[[list[Any]], Any]
        # Whether `values_list` was asked, and how.
        kind = asked._iterable_class  # noqa: SLF001
        if kind is ModelIterable:
            self.made = _object(shape, select)
        else:
            self.made = itemgetter(0) if kind is FlatValuesListIterable else tuple

    def rows(self, values: tuple[Value, ...]) -> list[Any]:
        here = _here()
        if self.locks and not here.in_atomic_block:
            raise TransactionManagementError("A query that locks is asked inside a transaction.")
        return [self.made(self._converted(list(row), here)) for row in self.words.ask(values)]

    def _converted(self, row: list[Any], here: BaseDatabaseWrapper) -> list[Any]:
        for place, convert, column in self.converters:
            row[place] = convert(row[place], column, here)
        return row


def _object(shape: Any, select: Any) -> Callable[[list[Any]], Model]:
    """How a row becomes an object, with those that `select_related` joins."""
    model: type[Model] = shape["model"]
    columns = shape["select_fields"]
    own = slice(columns[0], columns[-1] + 1)
    names = [column[0].target.attname for column in select[own]]
    # Its stub is of a later Django.
    others = get_related_populators(shape, select, connection.alias)  # type: ignore[call-arg]

    def made(row: list[Any]) -> Model:
        # As `from_db`, without a call for each column: nobody listens to the making of a row.
        one = model.__new__(model)
        one._state = state = ModelState()  # noqa: SLF001
        state.adding, state.db = False, connection.alias
        one.__dict__.update(zip(names, row[own], strict=True))
        for other in others:
            other.populate(row, one)
        return one

    return made


def _marks(values: tuple[Value, ...]) -> list[Value]:
    """Values that nobody asks for, to find them again among the parameters; they fit the smallest number column."""
    return [_mark(number, value) for number, value in enumerate(values)]


def _mark(number: int, value: Value) -> Value:
    if isinstance(value, datetime):
        return datetime(9876, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    if isinstance(value, date):
        return date(9876, 1, 1) + timedelta(days=number)
    return f"\ue000 {number}" if isinstance(value, str) else 32_011 + number


def _sent(value: Value, here: BaseDatabaseWrapper) -> Any:
    """As the database takes it: one of them knows no moments."""
    if isinstance(value, datetime):
        return here.ops.adapt_datetimefield_value(value)
    return here.ops.adapt_datefield_value(value) if isinstance(value, date) else value


def _here() -> BaseDatabaseWrapper:
    """This thread's connection itself: what stands for it looks it up at each use, a hundred times in a statement."""
    return connections[DEFAULT_DB_ALIAS]


@dataclass(frozen=True, slots=True)
class Write:
    """A change of rows, or a row to add: on its own, and after another that must have found its row."""

    alone: str
    # With a place for the condition, as one of several in a statement of PostgreSQL's.
    after: str
    values: list[Any]
    # The row that is added.
    row: Model | None = None

    def number(self, pk: Any, here: BaseDatabaseWrapper) -> None:
        """Give the added row its number."""
        if self.row is not None:
            self.row.pk = pk
            self.row._state.adding, self.row._state.db = False, here.alias  # noqa: SLF001  what `save` does

    def make(self) -> int:
        """Write it; how many rows."""
        here = _here()
        with here.cursor() as cursor:
            cursor.execute(self.alone, self.values)
            done = int(cursor.rowcount)
            if self.row is not None and done:
                self.number(cursor.fetchone()[0] if here.vendor == "postgresql" else cursor.lastrowid, here)
            return done


def changing(model: type[Model], changes: Mapping[str, Any], *raised: str, **where: Any) -> Write:
    """Change the rows whose columns have these values (a tuple: one of them), and raise numbers of theirs by one.

    Names are those of the fields.
    """
    here = _here()
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in where.items()}
    alone, after, written, tested = _updating(
        model, tuple(changes), raised, tuple((name, len(values)) for name, values in wanted.items())
    )
    values = [_saved(field, value, here) for field, value in zip(written, changes.values(), strict=True)]
    for field, ones in zip(tested, wanted.values(), strict=True):
        values += [field.get_db_prep_value(one, here) for one in ones]
    return Write(alone, after, values)


def adding(row: Model, *, once: bool = False) -> Write:
    """Add a row that is new; it gets its number. Defaults are those that making the object gave it.

    `once`: nothing is added where something that is unique about it is there.
    """
    here = _here()
    alone, after, fields = _insertion(type(row), here.vendor, once)
    values = [_saved(field, field.pre_save(row, add=True), here) for field in fields]
    return Write(alone, after, values, row)


# What most columns take as it is. Numbers are not among it: PostgreSQL is told how large the column is.
_AS_IT_IS: dict[type[Field[Any, Any]], type] = {
    models.CharField: str,
    models.TextField: str,
    models.BooleanField: bool,
}


def _saved(field: Field[Any, Any], value: Any, here: BaseDatabaseWrapper) -> Any:
    is_as_it_is = value is None or type(value) is _AS_IT_IS.get(type(field))
    return value if is_as_it_is else field.get_db_prep_save(value, here)


def update(model: type[Model], changes: Mapping[str, Any], **where: Any) -> int:
    """Change such rows; how many."""
    return changing(model, changes, **where).make()


def increment(model: type[Model], *names: str, **where: Any) -> int:
    """Raise numbers of such rows by one; how many rows."""
    return changing(model, {}, *names, **where).make()


def insert(row: Model) -> None:
    """Add a row."""
    adding(row).make()


def in_turn(*writes: Write) -> int:
    """Write one after another, each only if the one before it found its row; how many were written.

    PostgreSQL does it in one statement: no row may be written twice, and none sees what another has written.
    """
    here = _here()
    if not here.in_atomic_block:
        raise TransactionManagementError("What belongs together is written inside a transaction.")
    if here.vendor != "postgresql":
        for done, write in enumerate(writes):
            if not write.make():
                return done
        return len(writes)
    with here.cursor() as cursor:
        cursor.execute(_chain(*(write.after for write in writes)), [one for write in writes for one in write.values])
        numbers = cursor.fetchone()
    for write, number in zip(writes, numbers, strict=True):
        if number is not None:
            write.number(number, here)
    return sum(number is not None for number in numbers)


@lru_cache(maxsize=500)
def _chain(*each: str) -> str:
    """One statement of several, each with a condition on the one before it."""
    parts, condition = [], "true"
    for number, words in enumerate(each):
        parts.append(f"w{number} AS ({words.format(condition=condition)})")
        condition = f"EXISTS (SELECT 1 FROM w{number})"  # noqa: S608  our own names
    numbers = ", ".join(f"(SELECT max(pk) FROM w{number})" for number in range(len(each)))  # noqa: S608
    return f"WITH {', '.join(parts)} SELECT {numbers}"


def insert_once(row: M, there: Callable[[], M | None]) -> tuple[M, bool]:
    """Add a row unless its like is there, also one that another adds meanwhile; which is there, and if it is new.

    `there` finds the like. Raises IntegrityError where something else about the row is refused.
    """
    if adding(row, once=True).make():
        return row, True
    found = there()
    if found is None:
        raise IntegrityError(f"There is a {type(row).__name__} of which something is the same, and not its like.")
    return found, False


@lru_cache(maxsize=1_000)
def _updating(
    model: type[Model], names: tuple[str, ...], raised: tuple[str, ...], where: tuple[tuple[str, int], ...]
) -> tuple[str, str, list[Field[Any, Any]], list[Field[Any, Any]]]:
    """The words of an UPDATE alone and after another, the fields that it sets, and those that it looks at."""
    sets = [f"{_column(model, name)[0]} = %s" for name in names]
    sets += [f"{column} = {column} + 1" for column in (_column(model, name)[0] for name in raised)]
    tests = [f"{_column(model, name)[0]} IN ({', '.join(['%s'] * count)})" for name, count in where]
    sql = f'UPDATE "{model._meta.db_table}" SET {", ".join(sets)} WHERE {" AND ".join(tests)}'  # noqa: S608  our own names
    after = f"{sql} AND {{condition}} RETURNING {_column(model, 'pk')[0]} AS pk"
    return sql, after, [_column(model, name)[1] for name in names], [_column(model, name)[1] for name, _ in where]


@lru_cache(maxsize=200)
def _insertion(model: type[Model], vendor: str, once: bool) -> tuple[str, str, list[Field[Any, Any]]]:
    """The words of an INSERT alone and after another, and the fields in their order."""
    fields: Iterable[Any] = model._meta.local_concrete_fields
    written = [field for field in fields if not field.primary_key]
    names = ", ".join(f'"{field.column}"' for field in written)
    unless = " ON CONFLICT DO NOTHING" if once else ""
    into = f'INSERT INTO "{model._meta.db_table}" ({names})'
    back = f' RETURNING "{model._meta.pk.column}"'
    # The oldest SQLite that Django takes knows no RETURNING.
    alone = f"{into} VALUES ({', '.join(['%s'] * len(written))}){unless}{back if vendor == 'postgresql' else ''}"
    after = f"{into} SELECT {', '.join(_place(field) for field in written)} WHERE {{condition}}{unless}{back} AS pk"
    return alone, after, written


def _place(field: Field[Any, Any]) -> str:
    """PostgreSQL takes a value that is selected for a text unless it is told better; told so, it may shorten a text."""
    kind = field.db_type(_here()) or ""
    return "%s" if kind.startswith(("varchar", "text")) else f"%s::{kind}"


@lru_cache(maxsize=2_000)
def _column(model: type[Model], name: str) -> tuple[str, Field[Any, Any]]:
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    assert isinstance(field, Field)
    assert field.column
    return f'"{field.column}"', field
