"""The simulated service as one object: what it is at any moment, and what can be done to it.

    python -m drills.world --cause model_regression --size 1 --seed 7 --port 9100 [--speed 60]

A change (flag, fault) takes effect with the next minute of the world's clock; with `at` in the past a fault rewrites
the history from there on, so that a demonstration need not wait. See `drills.clocks` for what `speed` does.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from drills import questions, server
from drills.clocks import WorldClock, iso
from drills.metrics import STEP, Counters, Labels, Track, labels_of
from drills.promql import Value, compile_query
from drills.scenario import (
    CAUSES,
    FLAGS,
    NEWEST,
    NODES,
    PREVIOUS,
    QUERY_TYPES,
    SERVICE,
    TENANTS,
    VERSIONS,
    ChangeEvent,
    Fault,
    FlagEvent,
    Refused,
    deployment,
    plan,
    stream,
)
from drills.traffic import LABELLED_SHARE, REQUESTS_PER_MINUTE, State, minute_of_requests

log = logging.getLogger(__name__)
HISTORY_MINUTES = 720
# How much of a size-1 fault shows (ml-checks: accuracy of one slice -0.5, upstream time x 2.5).
ACCURACY_LOSS, LLM_SLOWDOWN = 0.5, 1.5
# What kind of change setting a flag is; the others count as code.
_FLAG_KINDS = {"chat-model": "model", "llm-provider": "upstream", "prompt-template": "prompt"}
_FEATURES = ("plan_age_days", "last_login", "language")


@dataclass(frozen=True)
class FlagAnswer:
    """What a flag is after it was set, and what it was before."""

    name: str
    value: str
    before: str
    changed: bool
    # How often the flag has been set; grows with every change.
    version: int


class World:
    """One simulated rag-chat with its history. Thread-safe; nothing runs in the background."""

    def __init__(
        self,
        cause: str = "none",
        size: float = 1.0,
        seed: int = 0,
        *,
        speed: float = 1.0,
        clock: Callable[[], float] = time.time,
        start: float | None = None,
        history: int = HISTORY_MINUTES,
        traffic: int = REQUESTS_PER_MINUTE,
        labelled: float = LABELLED_SHARE,
        version: str = NEWEST,
    ) -> None:
        if cause not in CAUSES:
            raise Refused(400, f"There is no cause {cause!r}; known: {', '.join(CAUSES)}.")
        if not 0 <= size <= 1 or not 0 < speed <= 600:
            raise Refused(400, "size is 0 to 1 and speed above 0 to 600.")
        self.cause, self.size, self.seed = cause, size, seed
        self.clock = clock
        # Minutes that the world remembers from before it began.
        self.history = history
        # Requests per wall minute: more of them make smaller differences visible sooner.
        self.traffic = traffic
        # The share of answers that people label, for the same reason.
        self.labelled = labelled
        # What serves while no fault and nobody has changed it.
        self.version = version
        self._lock = threading.RLock()
        self.time = WorldClock(float(math.floor(clock() if start is None else start)), speed)
        self.reset()

    # Time and the table.

    def now(self) -> float:
        """The present wall second."""
        return self.clock()

    def reset(self) -> None:
        """Back to the scenario of the seed, as if nobody had touched it; the clock goes on."""
        with self._lock:
            self._plan = plan(self.cause, self.size, self.seed, self.history, self.version)
            self._faults = list(self._plan.faults)
            self._flags = list(self._plan.flags)
            self._changes = list(self._plan.changes)
            self._answered: dict[str, tuple[object, FlagAnswer]] = {}
            self._rebuild()

    def _rebuild(self) -> None:
        self._next_minute = -self.history
        self._counters = Counters(first=-int(self.history * 60 / STEP))
        self._eval_scores: dict[tuple[str, tuple[tuple[str, float], ...]], dict[str, float]] = {}

    def warm_up(self) -> None:
        """Fill the history now instead of at the first question."""
        self._catch_up()

    def _catch_up(self) -> None:
        """Generate every minute that has begun, then close the samples that are complete."""
        with self._lock:
            now = self.now()
            while self.time.wall(self._next_minute) <= now:
                self._generate(self._next_minute)
                self._next_minute += 1
            self._counters.close(math.floor((now - self.time.start) / STEP))

    def _generate(self, minute: int) -> None:
        begin, end = self.time.wall(minute), self.time.wall(minute + 1)
        for request in self.requests(minute):
            wall = begin + request.at * (end - begin)
            self._counters.add(math.floor((wall - self.time.start) / STEP) + 1, request)

    def requests(self, minute: int) -> list[Any]:
        """The request table of one minute of the world's clock: the same whenever it is asked."""
        share = (self.time.wall(minute + 1) - self.time.wall(minute)) / 60
        season_phase = self._plan.season_phase
        return minute_of_requests(
            self.seed,
            minute,
            self.state(minute),
            phase=season_phase,
            share=share,
            per_minute=self.traffic,
            labelled=self.labelled,
        )

    def state(self, minute: int) -> State:
        """What holds in that minute."""
        version, provider = self.flag("chat-model", minute), self.flag("llm-provider", minute)
        slow = [f.size for f in self._faults if f.cause == "upstream_slow" and f.holds(minute)]
        return State(
            version=version,
            provider=provider,
            # The other provider is fine: failing over is the remedy, rolling the model back is not.
            llm_factor=1 + LLM_SLOWDOWN * max(slow) if slow and provider == "alpha" else 1.0,
            accuracy_loss=self.loss(version, minute),
        )

    def loss(self, version: str, minute: int) -> dict[str, float]:
        """The share of right answers that a defect takes from each query type of a version."""
        sizes = [f.size for f in self._faults if f.cause == "model_regression" and f.holds(minute)]
        return {self._plan.weak_slice: ACCURACY_LOSS * max(sizes)} if sizes and version == NEWEST else {}

    # Flags, faults, changes.

    def flag(self, name: str, minute: float | None = None) -> str:
        """The value of a flag in a minute of the world's clock; as last set when no minute is given."""
        if name not in FLAGS:
            raise Refused(404, f"There is no flag {name!r}; known: {', '.join(FLAGS)}.")
        value = FLAGS[name][0]
        for event in self._flags:
            if event.flag == name and (minute is None or event.minute <= minute):
                value = event.value
        return value

    def flag_version(self, name: str) -> int:
        """How often a flag has been set."""
        return sum(event.flag == name for event in self._flags)

    def set_flag(
        self, name: str, value: str, *, expect: str | None = None, key: str = "", by: str = "api"
    ) -> FlagAnswer:
        """Set a flag from the next minute on. With the same idempotency key, the first answer again.

        Refused: 404 no such flag, 400 no such value, 409 when `expect` is given and the flag is something else, 422
        when the key was used for another request.
        """
        with self._lock:
            asked = (name, value, expect)
            if key and key in self._answered:
                before, given = self._answered[key]
                if before != asked:
                    raise Refused(422, "This Idempotency-Key was used for another request.")
                return given
            self._catch_up()
            current = self.flag(name)
            if value not in FLAGS[name]:
                raise Refused(400, f"{name} cannot be {value!r}; possible: {', '.join(FLAGS[name])}.", value=current)
            if expect is not None and expect != current:
                raise Refused(409, f"{name} is {current!r}, not {expect!r}.", value=current)
            if value != current:
                minute = self.time.minute(self.now())
                self._flags.append(FlagEvent(math.floor(minute) + 1, name, value))
                kind = _FLAG_KINDS.get(name, "code")
                version = value if name == "chat-model" else ""
                self._changes.append(
                    ChangeEvent(minute, kind, f"Flag {name}: {current} to {value}", name, version, by, key)
                )
            given = FlagAnswer(name, value, current, value != current, self.flag_version(name))
            if key:
                self._answered[key] = (asked, given)
            return given

    def inject(self, cause: str, size: float = 1.0, at: float = 0.0) -> Fault | None:
        """Begin a fault `at` minutes from now (negative: rewrite history from there); "none" ends those there are."""
        if cause not in CAUSES or not 0 <= size <= 1:
            raise Refused(400, f"A fault is one of {', '.join(CAUSES)}, of size 0 to 1.")
        if not -self.history < at < 100_000:
            raise Refused(400, f"at is in minutes from now, above -{self.history}.")
        with self._lock:
            # Minutes that nobody asked about yet come out right later; making them first would make them twice.
            minute = max(math.ceil(self.time.minute(self.now()) + at), 1 - self.history)
            fault = None
            if cause == "none":
                self._faults = [f if f.end is not None else replace(f, end=minute) for f in self._faults]
            else:
                fault = Fault(cause, size, minute)
                self._faults.append(fault)
            if cause == "model_regression":
                if self.flag("chat-model", minute) != NEWEST:
                    self._flags.append(FlagEvent(minute, "chat-model", NEWEST))
                    self._flags.sort(key=lambda event: event.minute)
                self._changes.append(deployment(minute - 1.5))
            if minute < self._next_minute:
                self._rebuild()
            return fault

    def set_speed(self, speed: float) -> None:
        """Let the world's clock run faster or slower from now on."""
        if not 0 < speed <= 600:
            raise Refused(400, "speed is above 0 to 600.")
        with self._lock:
            self._catch_up()
            # Minutes that have begun keep their place in wall time; the new speed begins with the next one.
            self.time.change_speed(self.time.wall(self._next_minute), speed)

    def faults(self) -> list[Fault]:
        """All faults that there are or will be."""
        return list(self._faults)

    def onset(self) -> float:
        """When the newest fault began (wall seconds); 15 minutes ago without one."""
        begun = [f.onset for f in self._faults if f.end is None]
        return self.time.wall(begun[-1]) if begun else self.now() - 900

    def changes(self) -> list[dict[str, Any]]:
        """What was changed up to now, newest first."""
        now = self.time.minute(self.now())
        found = [
            {
                "id": f"chg-{number}",
                "kind": change.kind,
                "summary": change.summary,
                "subject": change.subject,
                "service": SERVICE,
                "version": change.version,
                "author": change.author,
                "environment": "production",
                "occurred_at": iso(self.time.wall(change.minute)),
                "effect_key": change.effect_key,
            }
            for number, change in enumerate(self._changes, start=1)
            if change.minute <= now
        ]
        return sorted(found, key=lambda change: str(change["occurred_at"]), reverse=True)

    def registry(self) -> dict[str, Any]:
        """The kept versions, which of them serves, and since when."""
        minute = self.time.minute(self.now())
        serving = self.flag("chat-model")
        history = [(e.minute, e.value) for e in self._flags if e.flag == "chat-model" and e.minute <= minute + 1]
        since = {version: iso(self.time.wall(at)) for at, version in history}
        other = PREVIOUS if serving == NEWEST else NEWEST
        return {
            "service": SERVICE,
            "serving": serving,
            "previous": next((version for _, version in reversed(history) if version != serving), other),
            "versions": [
                {
                    "version": version,
                    "state": "serving" if version == serving else "kept",
                    "ready": True,
                    "served_from": since.get(version),
                }
                for version in reversed(VERSIONS)
            ],
        }

    def page(self) -> dict[str, Any]:
        """The provider's status page says slow only some minutes after it is, and in some worlds never."""
        minute = self.time.minute(self.now())
        delay = self._plan.page_delay
        slow = [
            f
            for f in self._faults
            if f.cause == "upstream_slow" and delay is not None and f.onset + delay <= minute and f.holds(int(minute))
        ]
        return {
            "slow_since": iso(self.time.wall(slow[0].onset + (delay or 0))) if slow else None,
            "herring": self._plan.page_herring,
        }

    # Questions.

    def predict(self, version: str, item: str) -> str:
        """What a version answers to an item of the evaluation set now. Refused 404 for unknown ones."""
        if not questions.known(version):
            raise Refused(404, f"There is no version {version!r}; kept: {', '.join(VERSIONS)}.")
        question = questions.items(self.seed).get(item)
        if question is None:
            raise Refused(404, f"There is no item {item!r}.")
        loss = self.loss(version, math.floor(self.time.minute(self.now())))
        return questions.answer(self.seed, version, question, loss.get(question.query_type, 0.0))

    def evaluation_items(self) -> str:
        """The evaluation set as JSONL."""
        return "".join(item.line() + "\n" for item in questions.items(self.seed).values())

    def instant(self, query: str, at: float | None = None) -> Value:
        """A PromQL query at one wall second (now when not given). BadQuery as Prometheus refuses it."""
        with self._lock:
            self._catch_up()
            return compile_query(query, self)(self.now() if at is None else at)

    def range(self, query: str, start: float, end: float, step: float) -> list[tuple[float, Value]]:
        """A PromQL query at start, start + step … end."""
        with self._lock:
            self._catch_up()
            node = compile_query(query, self)
            times = [start + i * step for i in range(int((end - start) / step + 1e-9) + 1)]
            return [(at, node(at)) for at in times]

    # The store that PromQL reads (drills.promql.Store).

    def numbers(self, after: float, until: float) -> tuple[int, int]:
        """First and last sample with after < time <= until that exist by now."""
        origin = self.time.start
        return math.floor((after - origin) / STEP) + 1, min(math.floor((until - origin) / STEP), self._counters.closed)

    def moment(self, number: int) -> float:
        """The wall second of a sample."""
        return self.time.start + number * STEP

    def select(self, name: str, fits: Callable[[dict[str, str]], bool]) -> list[Track]:
        """The series whose labels fit."""
        found = [t for t in self._counters.tracks() if not name or t.labels[0] == ("__name__", name)]
        return [track for track in [*found, *self._gauges(name)] if fits(dict(track.labels))]

    def everything(self) -> list[tuple[Labels, float]]:
        """Every series with its present value, by name, as /metrics shows them."""
        with self._lock:
            self._catch_up()
            last = self._counters.closed
            values = ((track.labels, track.sample(last)) for track in self.select("", lambda labels: True))
            return sorted((labels, value) for labels, value in values if value is not None)

    def _gauges(self, wanted: str) -> Iterator[Track]:
        for labels, gauge in self._all_gauges():
            if not wanted or labels[0] == ("__name__", wanted):
                yield Track(labels, -int(self.history * 60 / STEP), self._counters.empty, gauge)

    def _all_gauges(self) -> Iterator[tuple[Labels, Callable[[int], float | None]]]:
        yield labels_of("up"), lambda number: 1.0
        for version in VERSIONS:
            yield labels_of("ml_build_info", version=version), partial(self._serves, version)
            for query_type in QUERY_TYPES:
                labels = labels_of("ml_eval_score", version=version, slice=query_type)
                yield labels, partial(self._eval_score, version, query_type)
        for node in NODES:
            yield labels_of("ml_gpu_memory_ratio", node=node), partial(self._noise, node, 0.71, 0.02)
        for feature in _FEATURES:
            for tenant in TENANTS:
                labels = labels_of("ml_feature_null_ratio", feature=feature, tenant=tenant)
                yield labels, partial(self._noise, f"{feature}/{tenant}", 0.012, 0.002)

    def _minute_of(self, number: int) -> int:
        return math.floor(self.time.minute(self.moment(number) - 1e-6))

    def _serves(self, version: str, number: int) -> float | None:
        return 1.0 if self.flag("chat-model", self._minute_of(number)) == version else None

    def _eval_score(self, version: str, query_type: str, number: int) -> float:
        loss = self.loss(version, self._minute_of(number))
        key = (version, tuple(sorted(loss.items())))
        if key not in self._eval_scores:
            self._eval_scores[key] = questions.scores(self.seed, version, loss)
        return self._eval_scores[key][query_type]

    def _noise(self, name: str, mean: float, spread: float, number: int) -> float:
        """A level that trembles from five minutes to five minutes."""
        return max(0.0, mean + spread * stream(self.seed, f"gauge/{name}", number // 20).uniform(-1, 1))


def serve(world: World, port: int, host: str = "127.0.0.1") -> server.DrillServer:
    """Serve a world on loopback in threads of this process; port 0 picks a free one. `close()` the answer to stop."""
    return server.start(world, host, port)


def main(arguments: list[str] | None = None) -> int:
    """Serve one world until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m drills.world", description=__doc__)
    parser.add_argument("--cause", choices=CAUSES, default="none")
    parser.add_argument("--size", type=float, default=1.0, help="1 easy, 0.5 medium, 0.25 hard, 0.12 extreme")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--speed", type=float, default=1.0, help="minutes of the world per minute, up to 600")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        world = World(options.cause, options.size, options.seed, speed=options.speed)
    except Refused as error:
        parser.error(str(error))
    running = serve(world, options.port)
    log.info("%s (%s, size %g, seed %d) at %s", SERVICE, options.cause, options.size, options.seed, running.url)
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: stop.set())
    stop.wait()
    running.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
