"""Wall time and the world's own minutes.

Minute 0 begins when the world starts. Before it a minute of the world is a minute of wall time, so that twelve hours
of history are twelve hours for every client. After it `speed` minutes of the world pass in one minute of wall time:
faults, roll-outs and the daily season go faster, time stamps stay wall time, and the traffic per second of wall time
stays the same.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime


def iso(wall: float) -> str:
    """A wall second as RFC 3339 in UTC."""
    return datetime.fromtimestamp(wall, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class WorldClock:
    """Maps wall seconds (Unix) to minutes of the world and back; the speed may change while it runs."""

    def __init__(self, start: float, speed: float) -> None:
        self.start = start
        # (wall second, minute of the world, minutes per wall minute from there on), in order.
        self._pieces = [(start, 0.0, float(speed))]

    @property
    def speed(self) -> float:
        """Minutes of the world per minute of wall time, now."""
        return self._pieces[-1][2]

    def change_speed(self, at: float, speed: float) -> None:
        """Run faster or slower from that wall second on (not before an earlier change)."""
        self._pieces.append((at, self.minute(at), speed))

    def minute(self, wall: float) -> float:
        """The minute of the world (with fraction) at a wall second."""
        if wall <= self.start:
            return (wall - self.start) / 60
        piece = self._pieces[bisect_right(self._pieces, wall, key=lambda p: p[0]) - 1]
        return piece[1] + (wall - piece[0]) / 60 * piece[2]

    def wall(self, minute: float) -> float:
        """The wall second of a minute of the world."""
        if minute <= 0:
            return self.start + minute * 60
        piece = self._pieces[bisect_right(self._pieces, minute, key=lambda p: p[1]) - 1]
        return piece[0] + (minute - piece[1]) * 60 / piece[2]
