"""How long each part of a task was busy, so that "why is it slow" has an answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by name of a part. Parts that run in threads of their own may overlap; no two may share a name."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time spent within the context to a part.

        Parameters
        ----------
        part
            Name of the part.

        Yields
        ------
        None
            Nothing.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by part, to the millisecond, by name."""
        return {part: round(value, 3) for part, value in sorted(self._seconds.items())}
