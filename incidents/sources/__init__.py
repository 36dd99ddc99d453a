"""The senders that Backstop understands, by the name in their address."""

from __future__ import annotations

from common.registry import Registry
from incidents.sources.alertmanager import Alertmanager
from incidents.sources.base import Source
from incidents.sources.changes import Changes
from incidents.sources.generic import Generic
from incidents.sources.github import GitHub
from incidents.sources.grafana import Grafana
from incidents.sources.pagerduty_events import PagerDutyEvents

SOURCES: Registry[Source] = Registry(
    "alert source", [Alertmanager(), Grafana(), Generic(), PagerDutyEvents(), GitHub(), Changes()]
)
