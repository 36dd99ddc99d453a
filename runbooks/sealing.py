"""What a run uses and nobody may read: sensitive inputs and stored secrets.

Rows hold a mark or a secret's name in their place. The values are filled in right before the check or action is called,
in that process's memory only, and are masked in whatever comes back.
"""

from __future__ import annotations

import json
from typing import Any

from catalog import team_secrets
from common.errors import DomainError
from common.expressions import ExpressionError
from common.secrets import decrypt, encrypt, keyed_digests, redact, remember
from incidents.evidence import canonical
from runbooks import reading
from runbooks.checks.base import CheckError
from runbooks.definitions import Definition
from runbooks.fields import holds_secret, is_secret
from runbooks.models import Run, StepRun


def seal(values: dict[str, Any]) -> bytes:
    """Sensitive inputs as a row keeps them."""
    if not values:
        return b""
    remember(values)
    return encrypt(json.dumps(values).encode())


def unseal(run: Run) -> dict[str, Any]:
    """The sensitive inputs of a run; from now on this process masks them."""
    sealed = bytes(run.sealed)
    values: dict[str, Any] = json.loads(decrypt(sealed)) if sealed else {}
    remember(values)
    return values


def filled(run: Run, step: StepRun, definition: Definition) -> dict[str, Any]:
    """The parameters for the call itself, with what is hidden in the row filled in. They must not be stored.

    Raises CheckError, permanent, for a secret that the team does not have or that cannot be decrypted any more.
    """
    return fill(run, step, definition, step.params or {})


def digest(run: Run, step: StepRun, definition: Definition, stored: dict[str, Any]) -> str:
    """The digest of parameters, bound by a key of ours to what is hidden in them; raises as `filled` does."""
    return _digests(run, step, definition, stored)[0]


def is_unchanged(run: Run, step: StepRun, definition: Definition) -> bool:
    """Whether what is hidden in the parameters is still what it was when they were rendered."""
    if not hides(run, definition):
        return True
    try:
        return step.params_digest in _digests(run, step, definition, step.params or {})
    except CheckError:
        return False


def bound(run: Run, step: StepRun, definition: Definition) -> list[str]:
    """What an approval is bound to beside the parameters that people see; nothing where they see all of them."""
    return [step.params_digest] if hides(run, definition) else []


def hides(run: Run, definition: Definition) -> bool:
    """Whether its parameters hold anything that nobody may read."""
    return holds_secret(definition.with_) or definition.reads_any(definition.with_, reading.spec_of(run).sensitive)


def _digests(run: Run, step: StepRun, definition: Definition, stored: dict[str, Any]) -> list[str]:
    if not hides(run, definition):
        return [reading.digest(stored)]
    return keyed_digests(canonical([stored, fill(run, step, definition, stored)]))


def fill(run: Run, step: StepRun, definition: Definition, stored: dict[str, Any]) -> dict[str, Any]:
    """The same for parameters that were just rendered."""
    if not hides(run, definition):
        return dict(stored)
    try:
        found = _Filling(run, step, definition).fill(definition.with_, stored)
    except ExpressionError as error:
        raise CheckError("expression", redact(str(error)), permanent=True) from None
    except DomainError as error:
        raise CheckError("no_secret", f"{error.sentence} {error.fix}".strip(), permanent=True) from None
    assert isinstance(found, dict)
    return found


class _Filling:
    """Walks the parameters as they were written, so that no foreign value can ask for a secret by its shape."""

    def __init__(self, run: Run, step: StepRun, definition: Definition) -> None:
        self.run, self.definition = run, definition
        self.sensitive = reading.spec_of(run).sensitive
        self.context = {"inputs": run.inputs | unseal(run), "item": step.item_value}

    def fill(self, written: Any, stored: Any) -> Any:
        if is_secret(written):
            return team_secrets.reveal(self.run.team, str(written["secret"]))
        if isinstance(written, str) and self.definition.reads_any(written, self.sensitive):
            value = self.definition.render(written, self.context)
            remember(value)
            return value
        if isinstance(written, dict):
            return {str(key): self.fill(item, stored[str(key)]) for key, item in written.items()}
        if isinstance(written, list):
            return [self.fill(item, kept) for item, kept in zip(written, stored, strict=True)]
        return stored
