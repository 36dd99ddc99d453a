"""Every task has an explicit name and lives where it says; the clock starts known tasks on known queues."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from celery import Task

from config.celery import QUEUES, ROOMS, app, ids_only

ROOT = Path(__file__).parents[2]
app.loader.import_default_modules()
OURS: dict[str, Task] = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


@pytest.mark.parametrize("name", sorted(OURS))
def test_its_name_is_its_rooms(name: str) -> None:
    room = name.partition(".")[0]
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
    assert OURS[name].__module__ in (f"{room}.tasks", f"{room}.schedule")


@pytest.mark.parametrize("entry", sorted(app.conf.beat_schedule))
def test_the_clock_starts_known_tasks_on_known_queues(entry: str) -> None:
    job = app.conf.beat_schedule[entry]
    assert job["task"] in OURS
    assert job["options"]["queue"] in QUEUES


def test_every_call_names_a_known_queue_and_task() -> None:
    found = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("enqueue", "hint") and ast.unparse(node.func.value) == "background":
                constants = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
                found += [f"{path.name}: {c!r}" for c in constants if c not in QUEUES and c not in OURS]
            elif node.func.attr in ("delay", "apply_async", "delay_on_commit"):
                found.append(f"{path.name} calls a task round common.background")
    assert found == []


def test_tasks_are_short() -> None:
    long = [
        f"{path.parent.name}.{node.name}"
        for room in ROOMS
        for path in [*(ROOT / room).glob("tasks.py"), *(ROOT / room).glob("schedule.py")]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and any("shared_task" in ast.unparse(d) for d in node.decorator_list)
        if len([s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]) > 5
    ]
    assert long == []


@pytest.mark.parametrize("value", ["a sentence with words", "x" * 65, {"key": "value"}, b"bytes", None, 1.5])
def test_a_message_carries_ids_only(value: object) -> None:
    with pytest.raises(TypeError, match="ids only"):
        ids_only(body=((value,), {}, {}), headers={})


def test_ids_pass_and_stay_out_of_the_headers() -> None:
    headers = {"argsrepr": "(7,)", "kwargsrepr": "{}"}
    ids_only(body=((7, "6b1f2c8e-0000-4000-8000-000000000001"), {}, {}), headers=headers)
    assert headers == {"argsrepr": "", "kwargsrepr": ""}
