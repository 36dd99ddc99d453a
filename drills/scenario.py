"""The facts of the simulated service and what a seed makes of a scenario: onset, deployments, red herrings.

Everything random comes from `stream(seed, name, number)`, so no answer depends on the order of questions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

SERVICE = "rag-chat"
MODEL = "chat-large"
# Share of the traffic and share of right answers, per query type. These are the slices.
QUERY_TYPES: dict[str, tuple[float, float]] = {
    "lookup": (0.35, 0.97),
    "summary": (0.25, 0.93),
    "compare": (0.18, 0.90),
    "howto": (0.12, 0.86),
    "multi_hop": (0.10, 0.80),
}
TENANTS: dict[str, float] = {
    "acme": 0.30,
    "birch": 0.20,
    "cobalt": 0.15,
    "delta": 0.12,
    "ember": 0.10,
    "fjord": 0.07,
    "grove": 0.04,
    "harbor": 0.02,
}
NODES = ("gpu-1", "gpu-2", "gpu-3", "gpu-4")
VERSIONS = ("v41", "v42", "v43")
PREVIOUS, NEWEST = "v42", "v43"
PROVIDERS = ("alpha", "beta")
# What can be set, first the value of an untouched world.
FLAGS: dict[str, tuple[str, ...]] = {
    "chat-model": ("v43", "v42", "v41"),
    "llm-provider": PROVIDERS,
    "prompt-template": ("p7", "p6"),
    "retriever-index": ("idx-12", "idx-11"),
    "retry-budget": ("0.1", "0.2", "off"),
}
# What an alert of this cause is about: (kind, name, sentence).
ALERTS: dict[str, tuple[str, str, str]] = {
    "model_regression": ("accuracy_drop", "RagChatAccuracyDrop", "Accuracy of rag-chat fell on labelled traffic"),
    "upstream_slow": ("latency_spike", "RagChatLatencySpike", "95th percentile latency of rag-chat rose"),
    "none": ("accuracy_drop", "RagChatAccuracyDrop", "Accuracy of rag-chat fell on labelled traffic"),
}
CAUSES = tuple(ALERTS)


class Refused(Exception):
    """The world does not do that; `status` is the HTTP status that says so."""

    def __init__(self, status: int, sentence: str, **extra: Any) -> None:
        super().__init__(sentence)
        self.status = status
        self.extra = extra


def stream(seed: int, name: str, number: int = 0) -> random.Random:
    """The random stream of that name and number; the same on every machine and in every order of calls."""
    return random.Random(f"{seed}/{name}/{number}")  # noqa: S311  repeatable on purpose, nothing secret


@dataclass(frozen=True)
class Fault:
    """Something that went wrong at a minute of the world's clock and, perhaps, was taken away again."""

    cause: str
    size: float
    onset: int
    end: int | None = None

    def holds(self, minute: int) -> bool:
        """Whether it is there in that minute (a remedy may still keep it from showing)."""
        return self.onset <= minute and (self.end is None or minute < self.end)


@dataclass(frozen=True)
class FlagEvent:
    """From that minute on, a flag has that value."""

    minute: int
    flag: str
    value: str


@dataclass(frozen=True)
class ChangeEvent:
    """Somebody changed something at a minute (with fraction) of the world's clock."""

    minute: float
    kind: str
    summary: str
    subject: str
    version: str
    author: str
    effect_key: str = ""


@dataclass(frozen=True)
class Plan:
    """What a seed makes of (cause, size): the state of the world before anybody touches it."""

    weak_slice: str
    faults: tuple[Fault, ...]
    flags: tuple[FlagEvent, ...]
    changes: tuple[ChangeEvent, ...]
    # Minutes after the onset at which the provider's page admits a fault of its own; None: never.
    page_delay: int | None
    # The provider's page shows another product as degraded.
    page_herring: bool
    season_phase: float


def plan(cause: str, size: float, seed: int, history: int, version: str = NEWEST) -> Plan:
    """The scenario of a seed: the fault begins 10 to 25 minutes before minute 0, when the alert fires.

    `history` is how many minutes the world remembers before minute 0; `version` serves in a world without a fault.
    """
    rng = stream(seed, "plan")
    onset = -rng.randint(10, 25)
    weak_slice = rng.choice(["lookup", "summary", "compare", "howto"])
    innocent_gap, innocent = rng.randint(1, 25), rng.random() < 0.35
    changes = _routine_changes(seed, onset)
    flags = [FlagEvent(-history, flag, values[0]) for flag, values in (FLAGS | {"chat-model": (version,)}).items()]
    faults = () if cause == "none" else (Fault(cause, size, onset),)
    if cause == "model_regression":
        flags = [FlagEvent(-history, e.flag, PREVIOUS) if e.flag == "chat-model" else e for e in flags]
        flags.append(FlagEvent(onset, "chat-model", NEWEST))
        changes.append(deployment(onset - rng.uniform(1.0, 2.5)))
    elif cause != "none" and innocent:
        # A red herring: the new version is fine, and was rolled out shortly before the trouble.
        flags = [FlagEvent(-history, e.flag, PREVIOUS) if e.flag == "chat-model" else e for e in flags]
        flags.append(FlagEvent(onset - innocent_gap, "chat-model", NEWEST))
        changes.append(deployment(onset - innocent_gap - 1.5))
    return Plan(
        weak_slice=weak_slice,
        faults=faults,
        flags=tuple(flags),
        changes=tuple(changes),
        page_delay=rng.randint(4, 12) if rng.random() < 0.8 else None,
        page_herring=rng.random() < 0.15,
        season_phase=rng.random(),
    )


def deployment(minute: float) -> ChangeEvent:
    """The roll-out of the newest version."""
    return ChangeEvent(
        minute, "model", f"Deploy {SERVICE} {NEWEST} (fine-tune of week 47)", "chat-model", NEWEST, "deploy-bot"
    )


def _routine_changes(seed: int, onset: int) -> list[ChangeEvent]:
    """One to three harmless changes within two hours before the onset."""
    rng = stream(seed, "routine")
    candidates = [
        ("code", "Gateway 3.8.1: log format", "gateway", "3.8.1"),
        ("data_pipeline", "Nightly feature backfill finished", "features", ""),
        ("library_hardware", "Node image with new kernel on gpu-2", "gpu-2", "2026.11"),
        ("prompt", "Prompt p7: typo in the greeting", "prompt-template", "p7"),
    ]
    picked = rng.sample(candidates, rng.randint(1, 3))
    return [
        ChangeEvent(onset - rng.uniform(5, 120), kind, summary, subject, version, rng.choice(["mara", "jon", "ci"]))
        for kind, summary, subject, version in picked
    ]
