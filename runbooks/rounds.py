"""The auditor's round: it looks at every open run, a window in each tick, so that a tick is short however many wait."""

from __future__ import annotations

from datetime import datetime

from common.indexed import among
from runbooks.models import OPEN_RUN_STATES, Run

# Looked at in one tick: a minute is enough for 12,000 open runs.
WINDOW = 200


class Round:
    """Where this process has got to, in the order of the runs' deadlines, which never change."""

    def __init__(self) -> None:
        self._after: tuple[datetime, int] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether there are runs that it has not come to yet."""
        return self._after is not None

    def window(self) -> list[int]:
        """The next runs of the round; after the last ones it is over, and the next window is the first of another."""
        rows = Run.objects.filter(among("state", OPEN_RUN_STATES)).order_by("deadline_at", "pk")
        if self._after is not None:
            deadline, pk = self._after
            rows = rows.filter(deadline_at__gte=deadline).exclude(deadline_at=deadline, pk__lte=pk)
        found = list(rows.values_list("deadline_at", "pk")[:WINDOW])
        self._after = found[-1] if len(found) == WINDOW else None
        return [pk for _, pk in found]
