"""Turns what pydantic says about a runbook into findings: code, place, a plain sentence and a fix."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from common.yaml import Document, FileFaults, Finding, Path, nearest
from runbooks.fields import PHASES
from runbooks.spec import RunbookSpec
from runbooks.steps import KINDS, STEP_MODELS, kinds_of

UNKNOWN_FIELD, MISSING_FIELD, WRONG_TYPE = "RB076", "RB077", "RB078"

# The code of a wrong value, by the model and field it stands in; a whole model has "*".
_CODES: dict[tuple[str, str], str] = {
    ("RunbookSpec", "spec"): "RB001",
    ("RunbookSpec", "id"): "RB002",
    ("RunbookSpec", "title"): "RB003",
    ("RunbookSpec", "incident_type"): "RB004",
    ("RunbookSpec", "owner"): "RB005",
    ("RunbookSpec", "triggers"): "RB010",
    ("RunbookSpec", "inputs"): "RB011",
    ("RunbookSpec", "concurrency"): "RB016",
    ("RunbookSpec", "deadline"): "RB017",
    ("RunbookSpec", "outputs"): "RB033",
    ("RunbookSpec", "finally"): "RB032",
    ("Trigger", "*"): "RB010",
    ("Input", "*"): "RB011",
    ("Input", "pattern"): "RB013",
    ("Input", "min"): "RB014",
    ("Input", "max"): "RB014",
    ("Input", "from"): "RB015",
    ("Concurrency", "*"): "RB016",
    ("Hypothesis", "evidence"): "RB021",
    ("Backoff", "*"): "RB038",
    ("OnVerdict", "*"): "RB039",
    ("Approval", "*"): "RB048",
    ("Escalation", "*"): "RB048",
    ("Undo", "*"): "RB051",
    ("Watch", "*"): "RB054",
    ("step", "if"): "RB035",
    ("step", "foreach"): "RB036",
    ("step", "timeout"): "RB037",
    ("step", "attempts"): "RB038",
    ("step", "backoff"): "RB038",
    ("step", "on_verdict"): "RB039",
    ("step", "with"): "RB042",
    ("step", "check"): "RB040",
    ("step", "action"): "RB045",
    ("step", "min_samples"): "RB044",
    ("step", "max_age"): "RB044",
    ("step", "risk"): "RB046",
    ("step", "approval"): "RB048",
    ("step", "recheck"): "RB049",
    ("step", "lock"): "RB050",
    ("step", "undo"): "RB051",
    ("step", "wait"): "RB052",
    ("step", "runbook"): "RB053",
    ("step", "watch"): "RB054",
}
_WANTED: dict[str, tuple[str, str]] = {
    "string_type": ("must be text", "Put it in quotes."),
    "int_type": ("must be a whole number", "Write digits, without quotes."),
    "int_from_float": ("must be a whole number", "Write it without a fraction."),
    "float_type": ("must be a number", "Write digits, without quotes."),
    "bool_type": ("must be true or false", "YAML 1.2 knows only `true` and `false`."),
    "list_type": ("must be a list", "Write `- item` lines, or `[a, b]`."),
    "dict_type": ("must be a map", "Write `name: value` lines, or `{name: value}`."),
    "model_type": ("must be a map", "Write `name: value` lines, or `{name: value}`."),
}


class RunbookFaults(FileFaults):
    """A runbook that cannot be used; `findings` lists every error in it."""


def translate(errors: list[ErrorDetails], document: Document) -> list[Finding]:
    """One finding for each error of pydantic, in its order."""
    return [_finding(error, document) for error in errors]


def path_of(location: tuple[int | str, ...]) -> Path:
    """A pydantic location as a path in the document: without union tags and key marks."""
    return tuple(part for part in location if part != "[key]" and part not in STEP_MODELS)


def _finding(error: ErrorDetails, document: Document) -> Finding:
    location = error["loc"]
    path = path_of(location)
    owner, table = _owner_of(location)
    name = _name(path)
    kind = error["type"]
    code = _code(table, path)
    key_place = False
    if kind == "extra_forbidden":
        code, message, fix = _unknown(path, owner)
        key_place = True
    elif kind == "missing":
        code, message, fix = MISSING_FIELD, f"The field `{path[-1]}` is missing{_inside(path[:-1])}.", _example(name)
    elif kind == "kind":
        code, message, fix = _kinds(document, path)
    elif location and location[-1] == "[key]":
        code, message, fix, key_place = _bad_key(path, table)
    else:
        message, fix, code = _wrong(error, name, code)
    line, column = document.key_position(path) if key_place else document.position(path)
    return Finding(document.file, line, column, code, "error", message, fix)


def _bad_key(path: Path, table: str) -> tuple[str, str, str, bool]:
    key = path[-1]
    if table == "Hypothesis" or (len(path) > 2 and path[-2] == "evidence"):
        return "RB021", f"`{key}` cannot be used here.", "Points are given for `pass` and `fail`.", True
    if len(path) > 3 and path[-3] == "evidence":
        return "RB021", f"`{key}` takes no points.", "Points are given for `pass` and `fail`.", True
    code = {"inputs": "RB011", "outputs": "RB033", "hypotheses": "RB020"}.get(str(path[0]), WRONG_TYPE)
    return code, f"`{key}` is not a good id.", _ID_FIX, True


_ID_FIX = "Use lower-case letters, digits and `_`, starting with a letter, at most 40 characters."


def _unknown(path: Path, owner: type[BaseModel] | None) -> tuple[str, str, str]:
    name = str(path[-1])
    if path[:-1] == ("phases",):
        return "RB030", f"There is no phase `{name}`.", nearest(name, list(PHASES))
    known = field_names(owner) if owner else []
    return UNKNOWN_FIELD, f"There is no field `{name}`{_inside(path[:-1])}.", nearest(name, known)


def _kinds(document: Document, path: Path) -> tuple[str, str, str]:
    value: Any = document.data
    for part in path:
        value = value[part]
    if not isinstance(value, dict):
        return "RB034", "A step must be a map.", "Write `- id: …` with one of check, action, manual, wait, runbook."
    found = kinds_of(value)
    if found:
        return "RB034", f"A step has one kind, but this one has {' and '.join(found)}.", "Make two steps of it."
    near = nearest(
        next((str(key) for key in value if nearest(str(key), list(KINDS)).startswith("Did")), ""), list(KINDS)
    )
    hint = near if near.startswith("Did") else f"Add one of {', '.join(KINDS)}."
    return "RB034", "This step has no kind.", hint


def _wrong(error: ErrorDetails, name: str, code: str) -> tuple[str, str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WANTED:
        wanted, fix = _WANTED[kind]
        return f"`{name}` {wanted}, not {_what(error['input'])}.", fix, code
    if kind == "duration":
        return f"`{name}` {error['msg']}.", _duration_fix(error["input"]), code
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace("'", "`")
        allowed = [part.strip("`") for part in expected.replace(" or ", ", ").split(", ")]
        fix = nearest(str(error["input"]), allowed)
        return f"`{name}` is {_quoted(error['input'])}, but must be {expected}.", fix, code
    if kind == "string_pattern_mismatch":
        if str(context.get("pattern", "")).startswith("^(user"):
            return f"`{name}` must name a person, role or team, not {_quoted(error['input'])}.", _PRINCIPAL_FIX, code
        return f"{_quoted(error['input'])} is not a good `{name}`.", _ID_FIX, code
    limits = {
        "string_too_long": (f"has more than {context.get('max_length')} characters", "Shorten it."),
        "string_too_short": ("is empty", "Write something, or leave the field out."),
        "too_long": (f"has more than {context.get('max_length')} parts", "Leave some out."),
        "too_short": ("is empty", "Write at least one part, or leave the field out."),
        "greater_than": (f"must be more than {context.get('gt')}", "Write a larger number."),
        "greater_than_equal": (f"must be at least {_amount(name, context.get('ge'))}", "Write a larger number."),
        "less_than_equal": (f"must be at most {_amount(name, context.get('le'))}", "Write a smaller number."),
    }
    said, fix = limits.get(kind, (error["msg"], "The guide says what may stand here."))
    return f"`{name}` {said}.", fix, code


_PRINCIPAL_FIX = "Write user:name, role:group or team:name."


def _duration_fix(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"Write {value}s, or {value}m."
    return "Write 90s, 10m, 1h30m or 2d."


def _amount(name: str, number: object) -> str:
    if name == "deadline" and isinstance(number, int):
        return "14d" if number >= 86_400 else f"{number}s"
    return str(number)


def _name(path: Path) -> str:
    return next((str(part) for part in reversed(path) if isinstance(part, str)), "runbook")


def _inside(path: Path) -> str:
    name = _name(path)
    return f" in `{name}`" if any(isinstance(part, str) for part in path) else ""


def _example(name: str) -> str:
    return {
        "spec": "Write `spec: 1`.",
        "phases": "Add `phases:` with at least one step.",
        "owner": "Write `owner: team:name`.",
        "id": "Add `id: a_name`.",
        "for": "Add `for: 24h`.",
        "from": "Add `from: [role:oncall]`.",
    }.get(name, f"Add `{name}: …`.")


def _what(value: object) -> str:
    for types, word in (
        (bool, "true/false"),
        (int | float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a map"),
    ):
        if isinstance(value, types):
            return word
    return "nothing"


def _quoted(value: object) -> str:
    text = str(value)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"


def _code(table: str, path: Path) -> str:
    """Of the innermost field that has a code of its own, else of the whole model."""
    own = (_CODES.get((table, str(part))) for part in reversed(path))
    return next((code for code in own if code), None) or _CODES.get((table, "*")) or WRONG_TYPE


def field_names(model: type[BaseModel]) -> list[str]:
    """The field names of a model as the YAML spells them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _owner_of(location: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model that holds the field of a location, and the name of its table of codes."""
    owner: type[BaseModel] | None = RunbookSpec
    # The value type of a map with free keys: the next part is a key, not a field.
    free: type[BaseModel] | None = None
    parts = list(location)
    if parts and parts[-1] == "[key]":
        parts.pop()
    for part in parts[:-1]:
        if part in STEP_MODELS:
            owner, free = STEP_MODELS[str(part)], None
        elif isinstance(part, int):
            continue
        elif free is not None:
            owner, free = free, None
        elif owner is not None:
            owner, free = _inner(owner, part)
    table = "" if owner is None else "step" if owner in STEP_MODELS.values() else owner.__name__
    if free is not None:
        table = free.__name__
    if table in ("", "Phases"):
        # Inside a plain map or list: its field's own code.
        named = [str(part) for part in parts if isinstance(part, str)]
        table = "RunbookSpec" if named and ("RunbookSpec", named[0]) in _CODES else table
    return owner, table


def _inner(owner: type[BaseModel], part: str) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    for name, field in owner.model_fields.items():
        if part == (field.alias or name):
            model, is_map = _model_in(field.annotation, inside_map=False)
            return (owner, model) if is_map and model else (model or owner, None)
    return owner, None


def _model_in(annotation: Any, *, inside_map: bool) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, inside_map
    is_map = inside_map or getattr(annotation, "__origin__", None) is dict
    for argument in get_args(annotation):
        model, found_in_map = _model_in(argument, inside_map=is_map)
        # A list of steps names five models; the tag in the location says which.
        if model is not None and model not in STEP_MODELS.values():
            return model, found_in_map
    return None, is_map
