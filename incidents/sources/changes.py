"""Changes told by scripts and pipelines in our own words."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from incidents.signatures import Scheme
from incidents.sources import words
from incidents.sources.base import ChangeNotice, NotOfThisSource, Reading, Source

KINDS = ("code", "model", "prompt", "data_pipeline", "library_hardware", "upstream")


class Changes(Source):
    """Changes from your own scripts and pipelines.

    Send one JSON object per change: `kind` (code, model, prompt, data_pipeline, library_hardware, upstream) and
    `summary` are required; `service`, `version`, `author`, `environment`, `subject`, `link`, `labels`, `occurred_at`
    (default: now) and `external_id` (send the same again and it is one change) may be added. A change opens nothing.
    """

    name: ClassVar[str] = "changes"
    title: ClassVar[str] = "Changes by script"
    signature: ClassVar[Scheme | None] = "standard-webhooks"
    snippet: ClassVar[str] = """curl -X POST {url} -H 'Content-Type: application/json' -d '{
  "kind": "prompt", "summary": "System prompt v8 is live", "service": "my-service", "version": "v8", "author": "deploy"
}'
"""
    sample: ClassVar[dict[str, Any]] = {"kind": "code", "summary": "Test change sent from Backstop"}

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """One change."""
        body = words.fields(payload)
        kind = words.text(body.get("kind")).lower().replace(" ", "_").replace("-", "_")
        summary = words.text(body.get("summary"))
        if kind not in KINDS or not summary:
            raise NotOfThisSource(f"A change is an object with a summary and a kind, one of: {', '.join(KINDS)}.")
        return Reading(
            kind="change",
            changes=[
                ChangeNotice(
                    kind=kind,
                    summary=summary,
                    subject=words.text(body.get("subject")),
                    version=words.text(body.get("version")),
                    author=words.text(body.get("author")),
                    environment=words.text(body.get("environment")),
                    service=words.text(body.get("service")) or None,
                    link=next(iter(words.links([("link", body.get("link"))])), {}).get("href", ""),
                    external_id=words.text(body.get("external_id"))[:200],
                    labels=words.flat(body.get("labels")),
                    occurred_at=words.moment(body.get("occurred_at")),
                )
            ],
        )
