"""What is wrong with a step that runs another runbook, as far as the others are known: RB053, RB042, RB015."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from common import expressions
from common.expressions import ExpressionError
from common.yaml import Document, Finding, Path, nearest
from runbooks.fields import texts_in
from runbooks.spec import RunbookSpec
from runbooks.steps import RunbookStep, Step

# A runbook, one that it runs, and one that this one runs.
MOST_DEEP = 3
# None for one that is there and cannot be read: what it takes and runs nobody can tell.
Others = Mapping[str, RunbookSpec | None]
Fault = tuple[Path, str, str, str]


def child_findings(
    document: Document, spec: RunbookSpec, steps: list[tuple[Path, Step]], others: Others
) -> list[Finding]:
    """Findings about every step of kind `runbook`; `others` are the runbooks that there are beside this one."""
    return [
        Finding(document.file, *document.position(path), code, "error", message, fix)
        for at, step in steps
        if isinstance(step, RunbookStep) and step.runbook != spec.id
        for path, code, message, fix in _faults(at, step, spec, others)
    ]


def way_of(name: str, chain: tuple[str, ...], others: Others) -> tuple[tuple[str, ...], str]:
    """The chain that leads too deep or in a circle, and which of both; empty where neither does."""
    way = (*chain, name)
    if name in chain:
        return way, "circle"
    if len(way) > MOST_DEEP:
        return way, "deep"
    other = others.get(name)
    for further in sorted(runs(other)) if other else ():
        found = way_of(further, way, others)
        if found[0]:
            return found
    return (), ""


def runs(spec: RunbookSpec) -> set[str]:
    """Ids of the runbooks that it runs as steps."""
    return {step.runbook for _, step in spec.steps() if isinstance(step, RunbookStep)}


def _faults(path: Path, step: RunbookStep, spec: RunbookSpec, others: Others) -> Iterator[Fault]:
    at = (*path, "runbook")
    if step.runbook not in others:
        yield (
            at,
            "RB053",
            f"There is no runbook `{step.runbook}`.",
            nearest(step.runbook, sorted({*others} - {spec.id})),
        )
        return
    other = others[step.runbook]
    if other is None:
        return
    way, how = way_of(step.runbook, (spec.id,), others)
    if how == "circle":
        yield at, "RB053", f"Runbooks run each other in a circle: {' → '.join(way)}.", "Take one of these steps out."
    elif how:
        yield at, "RB053", f"Runbooks nest at most {MOST_DEEP} deep: {' → '.join(way)}.", "Make the chain shorter."
    for name, value in step.with_.items():
        declared = other.inputs.get(name)
        if declared is None:
            fix = nearest(name, list(other.inputs))
            yield (*path, "with", name), "RB042", f"`{step.runbook}` has no input `{name}`.", fix
        elif not declared.sensitive and _reads_sensitive(value, step, spec):
            message = f"The input `{name}` of `{step.runbook}` is not sensitive, so the value would be shown there."
            yield (*path, "with", name), "RB015", message, "Make it `sensitive: true` there."
    for name, declared in other.inputs.items():
        if declared.is_required and not declared.from_ and name not in step.with_:
            yield at, "RB042", f"`{step.runbook}` needs the input `{name}`.", f"Add `{name}: …` under `with`."


def _reads_sensitive(value: object, step: RunbookStep, spec: RunbookSpec) -> bool:
    for _, text in texts_in(value, ()):
        try:
            used = expressions.compile_text(text, step.names()).names_used
        except ExpressionError:
            # Told where expressions are checked.
            continue
        if any(name[0] == "inputs" and name[1:2] and _is_sensitive(name[1], spec) for name in used):
            return True
    return False


def _is_sensitive(name: str, spec: RunbookSpec) -> bool:
    return name in spec.inputs and spec.inputs[name].sensitive
