"""GitHub's deployment_status webhooks: what was deployed where."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from common.errors import Invalid
from incidents.signatures import Scheme
from incidents.sources import words
from incidents.sources.base import ChangeNotice, NotOfThisSource, Reading, Source
from incidents.sources.changes import KINDS


class GitHub(Source):
    """GitHub repository webhook for deployments.

    In the repository's settings add a webhook with this address, content type `application/json`, and the single event
    *Deployment statuses*. Every status of a deployment tells the same change again; it never opens an incident. The
    service is the deployment payload's `service`, else the one that is called as the repository, else the endpoint's.
    The change is one of code, of a model if the payload names a `model_version`, or always of the kind that the setting
    `kind` gives.
    """

    name: ClassVar[str] = "github"
    title: ClassVar[str] = "GitHub deployments"
    signature: ClassVar[Scheme | None] = "github"
    settings: ClassVar[tuple[str, ...]] = ("kind",)
    snippet: ClassVar[str] = """gh api repos/OWNER/REPO/hooks -f name=web -F active=true \\
  -f 'events[]=deployment_status' -f 'config[content_type]=json' -f 'config[url]={url}'
"""
    sample: ClassVar[dict[str, Any]] = {
        "action": "created",
        "deployment_status": {"state": "success", "environment": "production"},
        "deployment": {"id": 1, "ref": "v1", "environment": "production"},
        "repository": {"name": "example", "full_name": "example/example"},
    }

    def event_id(self, headers: dict[str, str], body: bytes) -> str:
        """GitHub keeps the id when a delivery is sent again by hand."""
        return headers.get("x-github-delivery", "")

    def check_config(self, config: dict[str, Any]) -> None:
        """Refuses a kind of change that does not exist."""
        super().check_config(config)
        if config.get("kind", "code") not in KINDS:
            raise Invalid(f"There is no such kind of change; known: {', '.join(KINDS)}.", fields={"config": "kind"})

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """One change per deployment_status; ping is a test; other events are ignored."""
        event = headers.get("x-github-event", "")
        body = words.fields(payload)
        if event == "ping" or (not event and "zen" in body):
            return Reading(kind="test", reason="GitHub's ping.")
        if event and event != "deployment_status":
            return Reading(kind="ignored", reason=f"The GitHub event {event[:60]!r} says nothing about a deployment.")
        status, deployment, repository = (
            words.fields(body.get(name)) for name in ("deployment_status", "deployment", "repository")
        )
        repo = words.text(repository.get("full_name"))
        state = words.text(status.get("state"))
        if not repo or not state:
            raise NotOfThisSource("A GitHub deployment message has deployment_status.state and repository.full_name.")
        extra = words.fields(deployment.get("payload"))
        ref = words.text(deployment.get("ref"))
        environment = words.first(status.get("environment"), deployment.get("environment"))
        number = words.text(deployment.get("id"))
        return Reading(
            kind="change",
            changes=[
                ChangeNotice(
                    kind=words.text(config.get("kind")) or ("model" if extra.get("model_version") else "code"),
                    summary=f"Deployment of {repo} {ref} to {environment}: {state}",
                    subject=repo,
                    version=ref,
                    author=words.text(words.fields(status.get("creator")).get("login")),
                    environment=environment,
                    service=words.text(extra.get("service")) or None,
                    service_hint=words.text(repository.get("name")),
                    link=next(iter(words.links([("ci", status.get("target_url"))])), {}).get("href", ""),
                    external_id=f"{repo}#{number}"[:200] if number else "",
                    labels=words.flat({"state": state, "sha": deployment.get("sha"), "task": deployment.get("task")}),
                    occurred_at=words.moment(status.get("created_at")),
                )
            ],
        )
