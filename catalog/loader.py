"""Services from YAML files: the files are the true source, the rows follow; loading twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from django.db import transaction
from pydantic import BaseModel, ValidationError

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.connectors import CONNECTORS
from catalog.connectors.base import FlagConnector
from catalog.connectors.http_json import HttpJson
from catalog.connectors.prometheus import Prometheus
from catalog.models import Connection, ModelVersion, Service, Signal, Team, User
from catalog.permissions import Permission
from catalog.service_file import ServiceSpec
from common import clock
from common.yaml import Document, FileFaults, Finding, YamlFaults, decode, nearest, read


@dataclass
class _File:
    """One file on its way in."""

    document: Document
    spec: ServiceSpec
    team: Team
    by_person: bool = False
    connections: dict[str, Connection] = field(default_factory=dict)
    owner: User | None = None
    findings: list[Finding] = field(default_factory=list)

    def fault(self, path: tuple[str | int, ...], code: str, message: str, fix: str) -> None:
        """Note what is wrong with the value at that path."""
        line, column = self.document.position(path)
        self.findings.append(Finding(self.document.file, line, column, code, "error", message, fix))


def load(text: str, *, file: str, team: Team, actor: Actor = ENGINE) -> Service:
    """The service that a file describes, made or brought up to date. FileFaults (Invalid) with every finding.

    A person loads for the team at hand alone, and is told nothing of what other teams have.
    """
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    checked = _check(text, file=file, team=team, also=(), by_person=actor.user is not None)
    with transaction.atomic():
        service = _apply(checked)
        _connect(service, checked)
    return service


def check(text: str, *, file: str, team: Team) -> list[Finding]:
    """What is wrong with a file that a person would load for this team; stores nothing."""
    try:
        _check(text, file=file, team=team, also=(), by_person=True)
    except FileFaults as faults:
        return faults.findings
    return []


def load_folder(path: Path | str, team: Team) -> list[Service]:
    """Every `*.yaml` and `*.yml` of a folder, in order of name; files may depend on one another.

    A faulty file does not keep the others out: they are loaded, and then FileFaults tells what is wrong with it.
    """
    findings: list[Finding] = []
    texts: dict[str, str] = {}
    for entry in sorted(Path(path).iterdir()):
        if entry.suffix in (".yaml", ".yml") and entry.is_file():
            try:
                texts[entry.name] = decode(entry.read_bytes(), file=entry.name)
            except YamlFaults as faults:
                findings += faults.findings
    slugs = [slug for slug in map(_slug_of, texts.values()) if slug]
    good: list[_File] = []
    for name, text in texts.items():
        try:
            good.append(_check(text, file=name, team=team, also=slugs))
        except FileFaults as faults:
            findings += faults.findings
    with transaction.atomic():
        services = [_apply(checked) for checked in good]
        for service, checked in zip(services, good, strict=True):
            _connect(service, checked)
    if findings:
        raise FileFaults(sorted(findings))
    return services


def _slug_of(text: str) -> str:
    """The slug that a file claims, as far as it can be read at all."""
    try:
        found = read(text, file="").data
    except YamlFaults:
        return ""
    return str(found.get("service", "")) if isinstance(found, dict) else ""


def _check(text: str, *, file: str, team: Team, also: Iterable[str], by_person: bool = False) -> _File:
    document = read(text, file=file)
    try:
        spec = ServiceSpec.model_validate(document.data)
    except ValidationError as error:
        raise FileFaults(sorted(_faults(document, error))) from None
    checked = _File(document, spec, team, by_person)
    _check_team(checked)
    _check_owner(checked)
    _check_dependencies(checked, also)
    _check_connections(checked)
    _check_versions(checked)
    if checked.findings:
        raise FileFaults(sorted(checked.findings))
    return checked


def _faults(document: Document, error: ValidationError) -> list[Finding]:
    """Pydantic's errors with our places, words and hints."""
    found = []
    for item in error.errors():
        path = _plain_path(item["loc"])
        field_name, kind = str(path[-1]) if path else "", item["type"]
        if kind == "extra_forbidden":
            line, column = document.key_position(path)
            hint = nearest(field_name, _fields_at(path[:-1]))
            found.append(
                Finding(document.file, line, column, "SV001", "error", f"`{field_name}` is not a field.", hint)
            )
            continue
        if kind == "missing":
            line, column = document.position(path[:-1])
            fix = "Files start with `spec: 1`." if field_name == "spec" else f"Add `{field_name}:`."
            found.append(Finding(document.file, line, column, "SV002", "error", f"`{field_name}` is missing.", fix))
            continue
        line, column = document.position(path)
        message = f"`{'.'.join(map(str, path)) or 'The file'}`: {item['msg'].removeprefix('Value error, ')}."
        fix = "See what it may hold in the guide, under Services."
        found.append(Finding(document.file, line, column, "SV003", "error", message, fix))
    return found


def _plain_path(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path in the file: pydantic adds the kind of a comparison after `compare`, and `[key]` for a wrong key."""
    parts = [part for part in loc if part != "[key]"]
    if len(parts) > 3 and parts[0] == "signals" and parts[2] == "compare":
        del parts[3]
    return tuple(parts)


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """The names of the fields that may stand at a path of the file's form."""
    models: list[type[BaseModel]] = [ServiceSpec]
    for part in path:
        # Numbers and free names (of signals) stand inside a list or map that its field's annotation names.
        known = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        models = [inner for annotation in known for inner in _models_in(annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _check_team(file: _File) -> None:
    named = file.spec.team
    if named is not None and named != file.team.slug and file.by_person:
        message = f"The file is for team `{named}`, and you load it for `{file.team.slug}`."
        file.fault(("team",), "SV010", message, "Choose that team, or leave `team` out.")
    elif named is not None and named != file.team.slug:
        found = Team.objects.filter(slug=named).first()
        if found is None:
            teams = list(Team.objects.values_list("slug", flat=True))
            file.fault(("team",), "SV010", f"There is no team `{named}`.", nearest(named, teams))
        else:
            file.team = found
    taken = Service.objects.filter(slug=file.spec.service).exclude(team=file.team).select_related("team").first()
    if taken is not None:
        owner = "another team" if file.by_person else f"team {taken.team.slug}"
        fix = "Choose another name." if file.by_person else "Choose another name, or write that team into the file."
        file.fault(("service",), "SV011", f"The service `{taken.slug}` belongs to {owner}.", fix)


def _check_owner(file: _File) -> None:
    name = file.spec.default_owner
    if not name:
        return
    people = User.objects.filter(username__iexact=name, is_active=True)
    file.owner = (people.filter(memberships__team=file.team) if file.by_person else people).first()
    if file.owner is None:
        members = list(User.objects.filter(memberships__team=file.team).values_list("username", flat=True))
        file.fault(("default_owner",), "SV012", f"There is no user `{name}`.", nearest(name, members))


def _check_dependencies(file: _File, also: Iterable[str]) -> None:
    services = Service.objects.filter(team=file.team) if file.by_person else Service.objects.all()
    known = {*services.values_list("slug", flat=True), *also}
    for index, slug in enumerate(file.spec.depends_on):
        if slug == file.spec.service:
            file.fault(("depends_on", index), "SV013", "A service cannot depend on itself.", "Remove it.")
        elif slug not in known:
            hint = nearest(slug, sorted(known - {file.spec.service}))
            file.fault(("depends_on", index), "SV013", f"There is no service `{slug}`.", hint)


def _check_connections(file: _File) -> None:
    file.connections = {row.slug: row for row in Connection.objects.filter(team=file.team)}
    for name, signal in file.spec.signals.items():
        _check_connection(file, ("signals", name, "connection"), signal.connection, Prometheus)
    if file.spec.rollback:
        _check_connection(file, ("rollback", "connection"), file.spec.rollback.connection, FlagConnector)
    if file.spec.evaluation:
        _check_connection(file, ("evaluation", "connection"), file.spec.evaluation.connection, HttpJson)


def _check_connection(file: _File, path: tuple[str | int, ...], slug: str, kind: type[Any]) -> None:
    row = file.connections.get(slug)
    if row is None:
        hint = nearest(slug, list(file.connections)) or f"Make a connection for team {file.team.slug} first."
        file.fault(path, "SV014", f"Team {file.team.slug} has no connection `{slug}`.", hint)
    elif not isinstance(CONNECTORS.get(row.connector), kind):
        fitting = ", ".join(known.name for known in CONNECTORS if isinstance(known, kind))
        message = f"The connection `{slug}` is of kind {row.connector}, which cannot do this."
        file.fault(path, "SV015", message, f"Kinds that can: {fitting}.")


def _check_versions(file: _File) -> None:
    seen: set[str] = set()
    for index, row in enumerate(file.spec.versions):
        if row.version in seen:
            file.fault(
                ("versions", index, "version"), "SV016", f"Version `{row.version}` stands here twice.", "Keep one."
            )
        seen.add(row.version)
    serving = [index for index, row in enumerate(file.spec.versions) if row.state == "serving"]
    for index in serving[1:]:
        file.fault(
            ("versions", index, "state"), "SV016", "A second version is `serving`.", "One serves; others are `kept`."
        )


def _apply(file: _File) -> Service:
    spec = file.spec
    values = {
        "team": file.team,
        "title": spec.title,
        "description": spec.description,
        "tier": spec.tier,
        "dashboard_url": spec.dashboard_url,
        "default_owner": file.owner,
        "rollback": spec.rollback.model_dump() if spec.rollback else {},
        "evaluation": spec.evaluation.model_dump() if spec.evaluation else {},
        "source_file": file.document.file[:300],
    }
    if spec.autonomy is not None:
        values["autonomy"] = spec.autonomy
    service, _ = Service.objects.update_or_create(
        slug=spec.service, defaults=values, create_defaults=values | {"created_at": clock.now()}
    )
    for name, signal in spec.signals.items():
        Signal.objects.update_or_create(
            service=service,
            name=name,
            defaults={
                "connection": file.connections[signal.connection],
                "query": signal.query,
                "unit": signal.unit,
                "worse": signal.worse,
                "compare": signal.compare.model_dump(exclude_unset=True) if signal.compare else {},
            },
        )
    service.signals.exclude(name__in=list(spec.signals)).delete()
    _apply_versions(service, file)
    return service


def _apply_versions(service: Service, file: _File) -> None:
    """Add versions and retire or keep them; which one serves is the file's word only while none does."""
    serves = service.versions.filter(state="serving").exists()
    for row in file.spec.versions:
        state = "kept" if row.state == "serving" and serves else row.state
        known = service.versions.filter(version=row.version).first()
        if known is None:
            ModelVersion.objects.create(
                service=service, version=row.version, state=state, served_from=row.served_from, note=row.note
            )
            continue
        if known.state != "serving":
            known.state = state
        known.served_from = known.served_from or row.served_from
        known.note = row.note or known.note
        known.save(update_fields=["state", "served_from", "note"])


def _connect(service: Service, file: _File) -> None:
    service.depends_on.set(Service.objects.filter(slug__in=file.spec.depends_on))
