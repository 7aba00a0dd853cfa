"""Where tasks run: what is asked of such a place, and the simplest one, this process.

A task is a function of the package and small frozen values; it opens its own files and returns a small record. Every
executor takes tasks while others are under way and gives outcomes back in the order in which they end. The other one:
`slidepipe.runs.dask_executor`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from slidepipe.runs.deadline import attempt_within
from slidepipe.runs.journal import Outcome


class TaskKey(NamedTuple):
    """Which task of which slide; unique among the tasks under way."""

    kind: Literal["begin", "block", "finish"]
    slide: int
    """Place of the slide among the work."""
    block: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One call to be made somewhere."""

    key: TaskKey
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Executor(Protocol):
    """Runs tasks."""

    task_timeout_s: float | None
    """Longest time for one task in seconds, of those submitted from now on; None waits for ever."""
    latency_s: float
    """Time in seconds that a task and its outcome are on their way."""

    @property
    def workers(self) -> int:
        """Number of tasks that can run at the same time."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task.

        Parameters
        ----------
        task
            What to call.
        """
        ...

    def outcomes(self) -> Iterator[tuple[TaskKey, Outcome]]:
        """Give outcomes back as tasks end, until none is left; more tasks may be submitted in between.

        Yields
        ------
        tuple
            Key of the task and what became of it.
        """
        ...

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in every process that runs tasks, while none runs.

        Parameters
        ----------
        function
            What to call.
        *arguments
            With what.
        """
        ...


class SerialExecutor:
    """Runs tasks one after the other in this process: the default of the library, and of every debugger.

    Parameters
    ----------
    task_timeout_s
        Longest time for one task in seconds. What hangs then is left behind in a thread of this process, with the
        memory that it holds; None waits for ever.
    """

    workers = 1
    latency_s = 0.0

    def __init__(self, task_timeout_s: float | None = None) -> None:
        self._tasks: deque[Task] = deque()
        self.task_timeout_s = task_timeout_s

    def submit(self, task: Task) -> None:
        """Queue a task.

        Parameters
        ----------
        task
            What to call.
        """
        self._tasks.append(task)

    def outcomes(self) -> Iterator[tuple[TaskKey, Outcome]]:
        """Run the queue.

        Yields
        ------
        tuple
            Key of the task and what became of it.
        """
        while self._tasks:
            task = self._tasks.popleft()
            yield task.key, attempt_within(self.task_timeout_s, task.function, *task.arguments)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in this process.

        Parameters
        ----------
        function
            What to call.
        *arguments
            With what.
        """
        function(*arguments)
