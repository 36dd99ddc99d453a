"""The demo's own copy of the accuracy runbook: the shipped one stays what it is, for every team."""

from __future__ import annotations

from catalog.actors import ENGINE
from catalog.models import Team
from runbooks import library, revisions
from runbooks.models import Runbook

ORIGINAL = "accuracy_drop"
COPY = "accuracy_drop_demo"
# Verified and watched in three minutes instead of a day, and its title says so. Its approval waits as long as the
# language lets it, so that nothing expires while somebody reads.
SHORTER = {
    f"id: {ORIGINAL}": f"id: {COPY}",
    "title: Accuracy drop on a served model": "title: Accuracy drop on a served model (demo, verified in 3 minutes)",
    "deadline: 48h": "deadline: 14d",
    "timeout: 30m": "timeout: 7d",
    "wait: 12m": "wait: 150s",
    "with: {signal: accuracy, window: 10m}": "with: {signal: accuracy, window: 130s, margin: 0.06}",
    "with: {signal: accuracy, window: 1h, same_hours: true}": "with: {signal: accuracy, window: 130s, margin: 0.06}",
    "usual level for a day?": "usual level for half a minute?",
    "Hour by hour, beside the same hours before": "Every ten seconds, beside the hour before",
    "The first that is worse": "The first look that is worse",
    "the day that follows is watched below": "the half minute that follows is watched below, in earnest a day",
    "watch: {every: 1h, for: 24h}": "watch: {every: 10s, for: 30s, max_inconclusive: 2}",
    "with: {signal: error_rate, window: 10m}": "with: {signal: error_rate, window: 130s, margin: 0.06}",
}


def make(team: Team) -> None:
    """Publish the copy; it stands in for the original in this team's triggers (docs/decisions/0012)."""
    text = (library.FOLDER / f"{ORIGINAL}.yaml").read_text()
    for shipped, short in SHORTER.items():
        assert shipped in text, shipped
        text = text.replace(shipped, short)
    original = Runbook.objects.get(slug=ORIGINAL)
    revision = revisions.save(
        original, text=text, actor=ENGINE, team=team, note="Shorter verification, for the demo.", source="editor"
    )
    revisions.publish(revision, actor=ENGINE)


def switch(*, on: bool) -> None:
    """Off wherever the demo does not run, so that no real alert is verified in three minutes."""
    Runbook.objects.filter(slug=COPY, copy_of__slug=ORIGINAL).update(enabled=on)
