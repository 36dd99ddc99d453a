"""Any sender that posts JSON: our own native alert object, or a mapping that says where its fields are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from common import expressions
from common.errors import Invalid
from incidents.signatures import Scheme
from incidents.sources import words
from incidents.sources.base import AlertNotice, NotOfThisSource, Reading, Source

# Names that a mapping's texts may use, and the fields that they may fill.
NAMES = {"payload", "headers"}
FIELDS = (
    "title",
    "status",
    "severity",
    "service",
    "environment",
    "description",
    "dedup_key",
    "starts_at",
    "ends_at",
    "link",
    "value",
    "threshold",
)


class Generic(Source):
    """Any JSON, with or without a mapping.

    Without a mapping the body is our native alert: `title` is required; `status` (default firing), `severity`,
    `description`, `service`, `environment`, `dedup_key`, `labels`, `links`, `starts_at`, `ends_at`, `value`,
    `threshold` may be added. With a mapping, each field is an expression over `payload` and `headers`, such as
    `{{ payload.monitor.name }}`; it can choose and compare, not call. A key that tells the same alert each time
    (`dedup_key`) lets a later `resolved` find its alert; without one the title is the key.
    """

    name: ClassVar[str] = "generic"
    title: ClassVar[str] = "Generic JSON"
    signature: ClassVar[Scheme | None] = "standard-webhooks"
    settings: ClassVar[tuple[str, ...]] = ("mapping",)
    snippet: ClassVar[str] = """curl -X POST {url} -H 'Content-Type: application/json' -d '{
  "title": "Null rate of age is 0.31", "status": "firing", "severity": "high", "service": "my-service",
  "dedup_key": "null-rate/age", "labels": {"kind": "data_issue"}
}'
"""
    sample: ClassVar[dict[str, Any]] = {
        "title": "Test alert sent from Backstop",
        "severity": "info",
        "dedup_key": "backstop-test",
    }

    def event_id(self, headers: dict[str, str], body: bytes) -> str:
        """The id of the Standard Webhooks convention, where the sender follows it."""
        return headers.get("webhook-id", "")

    def check_config(self, config: dict[str, Any]) -> None:
        """Refuses a mapping with unknown fields or with expressions that do not compile."""
        super().check_config(config)
        mapping = config.get("mapping", {})
        if not isinstance(mapping, dict):
            raise Invalid("The mapping must be an object of field names and expressions.")
        labels = mapping.get("labels", {})
        if not isinstance(labels, dict):
            raise Invalid("The mapping's labels must be an object of label names and expressions.")
        if mapping and "title" not in mapping:
            raise Invalid("The mapping gives no title.", fix='Add for example "title": "{{ payload.name }}".')
        for name, source in [*mapping.items(), *((f"labels.{key}", value) for key, value in labels.items())]:
            if name == "labels":
                continue
            if name not in FIELDS and not name.startswith("labels."):
                raise Invalid(f"The mapping has an unknown field {name!r}.", fix=f"Known: {', '.join(FIELDS)}, labels.")
            if not isinstance(source, str):
                raise Invalid(f"The mapping's {name} must be a text such as '{{{{ payload.x }}}}'.")
            try:
                expressions.compile_text(source, NAMES)
            except expressions.ExpressionError as fault:
                raise Invalid(f"The mapping's {name} cannot be used: {fault}") from None

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """One alert."""
        if not isinstance(payload, dict):
            raise NotOfThisSource("A generic alert is a JSON object; this body is not.")
        mapping = words.fields(config.get("mapping"))
        notes: list[str] = []
        found = _mapped(mapping, payload, headers, notes) if mapping else payload
        status = words.status(found.get("status"))
        if status is None:
            if words.text(found.get("status")):
                notes.append(f"The status {words.text(found.get('status'))[:60]!r} is not known; taken for firing.")
            status = "firing"
        title = words.text(found.get("title"))
        key = words.text(found.get("dedup_key"))
        if not title and (status == "firing" or not key):
            raise NotOfThisSource(
                "A generic alert needs a title; "
                + ("the mapping found none." if mapping else "this object has none and the endpoint has no mapping.")
            )
        labels = words.flat(found.get("labels"))
        for name in ("value", "threshold"):
            if measured := words.text(found.get(name)):
                labels.setdefault(name, measured)
        at = words.moment(found.get("starts_at"))
        if at is None and words.text(found.get("starts_at")):
            notes.append("The start time cannot be read; the time of receipt is used.")
        return Reading(
            kind="alert",
            notes=notes,
            alerts=[
                AlertNotice(
                    dedup_key=key or f"generic:{title}",
                    status=status,
                    severity=words.severity(found.get("severity")),
                    title=title or None,
                    description=words.text(found.get("description")),
                    service=words.text(found.get("service")) or words.service(labels),
                    environment=words.text(found.get("environment")) or words.environment(labels),
                    labels=labels,
                    links=words.links(
                        [("source", found.get("link"))]
                        + [
                            (words.text(item.get("rel")) or "link", item.get("href"))
                            for item in words.items(found.get("links"))
                            if isinstance(item, dict)
                        ]
                    ),
                    starts_at=at,
                    ends_at=words.moment(found.get("ends_at")) if status == "resolved" else None,
                )
            ],
        )


def _mapped(
    mapping: Mapping[str, Any], payload: dict[str, Any], headers: dict[str, str], notes: list[str]
) -> dict[str, Any]:
    context = {"payload": payload, "headers": headers}
    found: dict[str, Any] = {name: _render(name, mapping.get(name), context, notes) for name in FIELDS}
    found["labels"] = {
        name: _render(f"labels.{name}", source, context, notes)
        for name, source in words.fields(mapping.get("labels")).items()
    }
    return found


def _render(name: str, source: object, context: dict[str, Any], notes: list[str]) -> object:
    if not isinstance(source, str):
        return None
    try:
        return expressions.render(source, context)
    except expressions.ExpressionError as fault:
        # One hole in a body must not cost the alert: the field is absent and the delivery log says why.
        notes.append(f"The mapping's {name} gave nothing: {fault}"[:300])
        return None
