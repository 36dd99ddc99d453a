"""model.rollback: let another kept version serve, by the service's flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from django.db import transaction
from pydantic import Field

from catalog import changes, connections, versions
from catalog.connectors.base import Config, ConnectorError, FlagConnector, FlagState, Secrets
from catalog.models import Change, Connection, ModelVersion, Service
from common import clock
from common.errors import NotFound
from runbooks.actions.base import Action, Ambiguous, Applied, EffectClass, NotApplied, Preview, Refused, Risk
from runbooks.checks.base import CheckError, Context, Params

SOURCE = "backstop"


class ModelRollbackParams(Params):
    """Which version shall serve."""

    to: str = Field("previous", min_length=1, max_length=120)


@dataclass(frozen=True)
class _Switch:
    """The service's flag, opened."""

    service: Service
    connection: Connection
    connector: FlagConnector[Any, Any]
    config: Config
    secrets: Secrets
    flag: str

    def read(self) -> FlagState:
        return self.connector.read(self.config, self.secrets, self.flag)

    def write(self, value: str, expect: Any, key: str) -> FlagState:
        return self.connector.write(self.config, self.secrets, self.flag, value=value, expect=expect, key=key)


class ModelRollback(Action[ModelRollbackParams]):
    """Let the previous version, or a named one, serve all traffic again.

    The service's file names the flag that decides which version serves (`rollback: {connection, flag}`); its value is
    the version's name. The approval shows the change exactly as it was read a moment ago. The flag is set only if it
    still holds what was shown (compare-and-set with an idempotency key) and is read back afterwards; the catalog then
    notes the serving version, and the change is recorded as Backstop's own, so that no ranking suspects it.

    Class `set`: repeating it ends in the same state. Refused (verdict fail): the flag service says no, somebody moved
    the flag meanwhile, or that version serves already (`already_there`). Not applied (error, may be tried again): no
    such version, no flag named, nobody listens at the address. In doubt (inconclusive): no answer after the request
    had left, or the flag reads differently afterwards.

    **result** keys: `flag`, `connection`, `from_version`, `to_version`, `seconds` (from the request to the read-back),
    `read_back` (whether the flag was read afterwards), `repeat` (whether the effect was already there under this key).
    """

    name: ClassVar[str] = "model.rollback"
    title: ClassVar[str] = "Roll the model back"
    effect_class: ClassVar[EffectClass] = "set"
    risk: ClassVar[Risk] = "high"
    example: ClassVar[dict[str, Any]] = {"to": "previous"}
    params = ModelRollbackParams

    def lacks(self, service: Service | None) -> str:
        """A service of the catalog that names its flag."""
        if service is None:
            return "the incident is bound to no service."
        if not service.rollback.get("connection") or not service.rollback.get("flag"):
            return f"{service.slug} names no flag; add `rollback: {{connection, flag}}` to its file."
        return ""

    def choices(self, service: Service) -> dict[str, list[tuple[str, str]]]:
        """The versions that are kept, the previous one first."""
        before = versions.previous(service)
        named = [
            (row.version, f"{row.version} ({row.state})") for row in service.versions.exclude(state="serving")[:50]
        ]
        return {"to": [("previous", f"previous ({before.version})"), *named] if before is not None else named}

    def observe(self, params: ModelRollbackParams, context: Context) -> str:
        """What the flag reads."""
        switch = _switch(context)
        try:
            now = switch.read()
        except ConnectorError as error:
            raise CheckError(error.reason, error.sentence, retry_after=error.retry_after) from None
        return f"Flag {switch.flag} now reads {now.value}"

    def preview(self, params: ModelRollbackParams, context: Context) -> Preview:
        """Read the flag and the catalog, and name the exact change."""
        switch = _switch(context)
        target = _target(switch.service, params.to)
        try:
            now = switch.read()
        except ConnectorError as error:
            raise CheckError(error.reason, error.sentence, retry_after=error.retry_after) from None
        slug, current = switch.service.slug, str(now.value)
        sentence = f"Roll back {slug}: {current} → {target.version}, 100 % of traffic, flag {switch.flag}"
        lines = [
            ("Service", switch.service.title),
            ("Flag", f"{switch.flag} on {switch.connection.slug}"),
            ("Serves now", current),
            ("Will serve", f"{target.version} ({target.state})"),
        ]
        if target.served_from is not None:
            lines.append(("First served", f"{target.served_from:%Y-%m-%d %H:%M} UTC"))
        return Preview(
            sentence=sentence,
            before={"flag": switch.flag, "value": now.value, "version": now.version},
            after={"flag": switch.flag, "value": target.version},
            lines=lines,
            warnings=_warnings(switch.service, target, current),
            bound={
                "service": slug,
                "connection": switch.connection.slug,
                "settings_of_the_connection": connections.fingerprint(switch.connection),
                "flag": switch.flag,
            },
        )

    def apply(self, params: ModelRollbackParams, key: str, context: Context) -> Applied:
        """Set the flag once, read it back, and note it in the catalog."""
        # After a crash "previous" means something else already, so the note of the first try comes first.
        done = Change.objects.filter(team=context.team, effect_key=key).first()
        if done is not None:
            return Applied(f"{done.summary} (done before, under the same key).", result={"repeat": True})
        try:
            switch = _switch(context)
            target = _target(switch.service, params.to)
            before = switch.read()
        except CheckError as error:
            raise NotApplied(str(error)) from None
        except ConnectorError as error:
            raise NotApplied(f"The flag cannot be read, so it was not set: {error.sentence}") from None
        if context.approved is not None:
            target = _as_approved(switch, target, before, context.approved)
        began = clock.now()
        repeat = before.value == target.version
        if repeat:
            serving = versions.serving(switch.service)
            if serving is not None and serving.version == target.version:
                raise Refused(f"already_there: {target.version} serves {switch.service.slug} already.")
            # The flag moved but our own note is missing: a try that ended in between, or a person was faster.
        else:
            _write(switch, target.version, before, key)
        read_back = _read_back(switch, target.version)
        old = versions.serving(switch.service)
        came_from = old.version if repeat and old is not None else str(before.value)
        summary = f"Rolled back {switch.service.slug}: {came_from} → {target.version}"
        _note(switch, target, summary, key, context)
        seconds = (clock.now() - began).total_seconds()
        return Applied(
            f"{summary}, 100 % of traffic, flag {switch.flag}"
            + (" (it already held this value)" if repeat else "")
            + ("." if read_back else "; it could not be read back."),
            before={"flag": switch.flag, "value": before.value},
            after={"flag": switch.flag, "value": target.version},
            result={
                "flag": switch.flag,
                "connection": switch.connection.slug,
                "from_version": came_from,
                "to_version": target.version,
                "seconds": round(seconds, 3),
                "read_back": read_back,
                "repeat": repeat,
            },
        )


def _switch(context: Context) -> _Switch:
    """The flag of the run's service; a permanent CheckError says what its file lacks."""
    service = context.service
    if service is None:
        raise CheckError("no_service", "The run has no service to roll back.", permanent=True)
    slug, flag = service.rollback.get("connection"), service.rollback.get("flag")
    if not slug or not flag:
        raise CheckError(
            "no_source",
            f"{service.slug} names no flag; add `rollback: {{connection, flag}}` to its file.",
            permanent=True,
        )
    row = Connection.objects.filter(team=service.team_id, slug=slug).first()
    if row is None:
        raise CheckError("no_source", f"The connection {slug!r} of {service.slug} is gone.", permanent=True)
    connector, config, secrets = connections.opened(row)
    if not isinstance(connector, FlagConnector):
        raise CheckError("no_source", f"The connection {slug} holds no flags.", permanent=True)
    return _Switch(service, row, connector, config, secrets, str(flag))


def _target(service: Service, wanted: str) -> ModelVersion:
    try:
        return versions.resolve(service, wanted)
    except NotFound as error:
        raise CheckError("version_missing", f"{error.sentence} {error.fix}", permanent=True) from None


def _as_approved(switch: _Switch, target: ModelVersion, now: FlagState, approved: dict[str, Any]) -> ModelVersion:
    """The version that people approved; refused when the flag has moved away from what they were shown."""
    shown, wanted = (approved.get("before") or {}).get("value"), (approved.get("after") or {}).get("value")
    if isinstance(wanted, str) and wanted != target.version:
        # "previous" may mean another version by now.
        target = _target(switch.service, wanted)
    if now.value not in (shown, target.version):
        raise Refused(
            f"Flag {switch.flag} was {shown} when the change was approved and is {now.value} now; nothing was changed."
        )
    return target


def _warnings(service: Service, target: ModelVersion, current: str) -> list[str]:
    found = []
    if current == target.version:
        found.append(f"{target.version} serves already; this would be refused.")
    if target.state == "retired":
        found.append(f"{target.version} is retired: it may no longer be loaded anywhere.")
    elif target.state == "canary":
        found.append(f"{target.version} is a canary: it never served all traffic.")
    serving = versions.serving(service)
    if serving is not None and serving.version != current:
        found.append(f"The catalog says that {serving.version} serves, the flag says {current}.")
    if serving is not None and target.served_from and serving.served_from and target.served_from > serving.served_from:
        found.append(f"{target.version} is newer than {serving.version}: this goes forward, not back.")
    return found


def _write(switch: _Switch, version: str, before: FlagState, key: str) -> None:
    """Compare-and-set; every failure says whether it may have happened."""
    try:
        switch.write(version, before.value, key)
    except ConnectorError as error:
        if error.reason == "conflict":
            _moved_meanwhile(switch, version, before, error)
        elif not error.sent:
            raise NotApplied(error.sentence) from None
        elif error.refused:
            raise Refused(error.sentence) from None
        else:
            raise Ambiguous(error.sentence) from None


def _moved_meanwhile(switch: _Switch, version: str, before: FlagState, error: ConnectorError) -> None:
    """The flag did not hold what was read. It may hold our own value, when a first answer was lost."""
    try:
        now = switch.read()
    except ConnectorError:
        raise Refused(error.sentence) from None
    if now.value != version:
        raise Refused(
            f"Somebody moved flag {switch.flag} from {before.value} to {now.value} meanwhile; nothing was changed."
        ) from None


def _read_back(switch: _Switch, version: str) -> bool:
    """Whether the flag could be read and holds the version; Ambiguous when it holds another."""
    try:
        now = switch.read()
    except ConnectorError:
        # The write was answered with success; only the second look failed.
        return False
    if now.value != version:
        _doubt(switch, version, now)
    return True


def _doubt(switch: _Switch, version: str, now: FlagState) -> NoReturn:
    raise Ambiguous(f"Flag {switch.flag} was set to {version} but reads {now.value} now.")


def _note(switch: _Switch, target: ModelVersion, summary: str, key: str, context: Context) -> None:
    """Both notes or none: the record under the effect's key is what makes a repeat harmless."""
    now = clock.now()
    with transaction.atomic():
        versions.promote(switch.service, target.version, at=now)
        changes.record(
            team=context.team,
            service=switch.service,
            kind="model",
            summary=summary,
            subject=switch.flag,
            version=target.version,
            author="Backstop",
            source=SOURCE,
            occurred_at=now,
            external_id=f"effect:{key}",
            labels={"incident": context.incident_key} if context.incident_key else {},
            effect_key=key,
        )
