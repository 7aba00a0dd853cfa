"""Where tasks run: in this process, or on the workers of a Dask scheduler.

A task is a function of the package and small frozen values; it opens its own files and returns a small record. Both
executors take tasks while others are under way and give outcomes back in the order in which they end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from distributed import Client, Future, as_completed

from slidepipe.runs.journal import Outcome, attempt, describe_failure


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
    """Runs tasks one after the other in this process: the default of the library, and of every debugger."""

    workers = 1

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

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
            yield task.key, attempt(task.function, *task.arguments)

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


class DaskExecutor:
    """Runs tasks on the workers of a Dask scheduler.

    Parameters
    ----------
    client
        A connected client; whoever made it closes it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._keys: dict[str, TaskKey] = {}
        self._futures = as_completed()

    @property
    def workers(self) -> int:
        """Number of threads of all workers that are there now."""
        threads: Mapping[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def submit(self, task: Task) -> None:
        """Send a task to the scheduler.

        Parameters
        ----------
        task
            What to call; its function and arguments are pickled.
        """
        future = self._client.submit(attempt, task.function, *task.arguments, pure=False)
        self._keys[str(future.key)] = task.key
        self._futures.add(future)

    def outcomes(self) -> Iterator[tuple[TaskKey, Outcome]]:
        """Wait for tasks.

        Yields
        ------
        tuple
            Key of the task and what became of it. A task that took its worker down with it fails with the
            scheduler's own error.
        """
        for future in self._futures:
            yield self._keys.pop(str(future.key)), _outcome(future)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on every worker.

        Parameters
        ----------
        function
            What to call; pickled, as its arguments are.
        *arguments
            With what.
        """
        self._client.run(function, *arguments)


def _outcome(future: Future[Any]) -> Outcome:
    # `attempt` catches what the task raises; an error of the future itself is the loss of the worker.
    if future.status == "finished":
        result: Outcome = future.result()
        return result
    error = future.exception() or RuntimeError(f"the scheduler reports the task as {future.status}")
    return Outcome(None, describe_failure(error), 0.0)
