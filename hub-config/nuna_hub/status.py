"""What the service says about a user server, as pages show it: words and times, without markup.

Owns the words of durations and states. Leaves asking to `spawner` and `attempt`, and markup to `templates/`.
"""

import time
from datetime import UTC, datetime

#: A server that ends within so many seconds is marked.
SOON_SECONDS = 30 * 60
STATES = {
    "submitting": "Being submitted",
    "queued": "Waiting in the queue",
    "starting": "Starting",
    "running": "Running",
    "stopping": "Stopping",
}
#: Of the service's answer, what goes to pages.
FIELDS = (
    "state",
    "job",
    "profile",
    "queue",
    "requested_at",
    "comment",
    "waiting",
    "ahead",
    "expected_start",
    "started_at",
    "ends_at",
)


def told(view: dict) -> dict:
    """The fields that pages show, of an answer or an event of the service."""
    return {name: view[name] for name in FIELDS if view.get(name) is not None}


def in_words(seconds: float) -> str:
    """`1 h 10 min`, `12 min`, `40 s`; what is over is `0 s`."""
    seconds = max(0, int(seconds))
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


class Status:
    """One answer of the service about a server, and the moment it came."""

    def __init__(self, view: dict):
        self._view = told(view)
        self.message = str(view.get("message") or "")
        progress = view.get("progress")
        self.progress = min(100, max(0, int(progress))) if isinstance(progress, (int, float)) else 0

    def __getattr__(self, name: str):
        if name in FIELDS:
            return self._view.get(name)
        raise AttributeError(name)

    @property
    def told(self) -> dict:
        """For the page's script."""
        return {**self._view, "words": self.words}

    @property
    def words(self) -> str:
        return STATES.get(self.state, "")

    @property
    def elapsed(self) -> str:
        """Since the server was asked for."""
        return in_words(time.time() - self._number("requested_at")) if self._number("requested_at") else ""

    @property
    def ends_in(self) -> str:
        """Until the walltime is over."""
        return in_words(self._number("ends_at") - time.time()) if self._number("ends_at") else ""

    @property
    def ends_soon(self) -> bool:
        end = self._number("ends_at")
        return end is not None and end - time.time() < SOON_SECONDS

    @property
    def expected_in(self) -> str:
        start = self._number("expected_start")
        return f"in {in_words(start - time.time())}" if start and start > time.time() else ""

    @property
    def line(self) -> str:
        """`Running, ends in 1 h 10 min`."""
        ends = f"ends in {self.ends_in}" if self.ends_in and self.state in ("starting", "running") else ""
        return ", ".join(part for part in (self.words, ends) if part)

    def at(self, name: str) -> str:
        """A time for `<time datetime=…>`."""
        seconds = self._number(name)
        return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else ""

    def _number(self, name: str) -> float | None:
        value = self._view.get(name)
        # A year far away would not be a date.
        return value if isinstance(value, (int, float)) and 0 < value < 1e11 else None
