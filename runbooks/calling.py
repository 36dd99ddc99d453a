"""Calling a check or action: whatever goes wrong in it, or in its parameters, is a CheckError."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from common.errors import DomainError
from runbooks.checks.base import CheckError
from runbooks.models import Run, StepRun

log = logging.getLogger(__name__)
Said = TypeVar("Said")


def called(call: Callable[[], Said], what: str, *, run: Run, step: StepRun) -> Said | CheckError:
    """What the call gives, or why it gave nothing; only what may pass by itself is worth another try."""
    try:
        return call()
    except CheckError as error:
        return error
    except ValidationError as error:
        return CheckError("bad_param", _sentence(error), permanent=True)
    except DomainError as error:
        return CheckError(error.code, error.sentence, permanent=True)
    except Exception as error:
        log.exception("%s failed", what, extra={"run": str(run.uuid), "step": step.step})
        return CheckError("crashed", f"{type(error).__name__}: {error}")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"Parameter {'.'.join(str(part) for part in first['loc'])}: {first['msg']}."
