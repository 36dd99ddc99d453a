"""What runbooks may change in the world.

Owns: one module per action, with its preview, its effect class and its least risk; the list of them.
Knows: connections of the catalog, telling people in `incidents`.
Does not know: runs, approvals, leases and the ledger (the engine keeps those).
"""

from __future__ import annotations

from typing import Any

from common.registry import Registry
from runbooks.actions.base import Action
from runbooks.actions.model_rollback import ModelRollback
from runbooks.actions.notify_send import NotifySend

ACTIONS: Registry[Action[Any]] = Registry("action", [ModelRollback(), NotifySend()])
