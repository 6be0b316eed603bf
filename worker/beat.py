"""Beat's schedule, for a clock that is put back."""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler


class Scheduler(PersistentScheduler):
    """Celery's own, which would wait, also over a restart, until the time at which it last sent something has come."""

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send what is due; what was sent in the future counts as sent just now."""
        ahead = [
            entry for entry in self.schedule.values() if entry.last_run_at and entry.last_run_at > entry.default_now()
        ]
        for entry in ahead:
            entry.last_run_at = entry.default_now()
        if ahead:
            self._heap = None  # it holds the times of before
        return super().tick(*args, **kwargs)
