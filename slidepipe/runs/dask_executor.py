"""Tasks on the workers of a Dask scheduler.

A worker that dies takes all tasks with it that it held, the guilty one and the others. So a task whose worker died is
tried once more by itself, when nothing else runs; if a worker dies again, it was the task.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, get_worker
from distributed.scheduler import KilledWorker

from slidepipe.errors import RunError, WorkerDiedError
from slidepipe.runs.deadline import attempt_within, hung
from slidepipe.runs.executor import Task, TaskKey
from slidepipe.runs.journal import Outcome, describe_failure

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_PATIENCE_S = 60.0
"""Time without any worker, or without the scheduler, after which that is told, and given up."""
_RESTART_S = 60.0
_MOST_AT_ONCE = 256
"""Tasks sent, and outcomes fetched, in one message."""
_TOPIC = "slidepipe"


class DaskExecutor:
    """Runs tasks on the workers of a Dask scheduler.

    Parameters
    ----------
    client
        A connected client; whoever made it closes it.
    task_timeout_s
        Longest time for one task in seconds; the worker of one that hangs is started anew. None waits for ever.
    resources
        What a worker has to offer for a task.
    expected_workers
        Number of tasks that can run at the same time once all workers have come; 0 if that is not known.
    look_after
        Called every few seconds while tasks are under way.
    """

    latency_s = 0.1
    """Client, scheduler and worker gather messages for some milliseconds each before they send them."""

    def __init__(
        self,
        client: Client,
        task_timeout_s: float | None = None,
        resources: dict[str, float] | None = None,
        expected_workers: int = 0,
        look_after: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._address = client.scheduler.address if client.scheduler is not None else ""
        self.task_timeout_s = task_timeout_s
        self._resources = resources
        self._expected = expected_workers
        self._look_after = look_after
        self._running: dict[str, tuple[Task, Future[Any]]] = {}
        self._unsent: list[Task] = []
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()
        self._suspects: deque[Task] = deque()
        self._accused: set[TaskKey] = set()
        self._slots = 0
        self._looked = self._seen_workers = self._seen_scheduler = time.monotonic()
        self._look()

    @property
    def workers(self) -> int:
        """Number of tasks that can run at the same time, on the workers that are there or will come."""
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._look()
        return max(1, self._slots, self._expected)

    def submit(self, task: Task) -> None:
        """Take a task; all that are there are sent to the scheduler together when outcomes are waited for.

        Parameters
        ----------
        task
            What to call; its function and arguments are pickled.
        """
        self._unsent.append(task)

    def outcomes(self) -> Iterator[tuple[TaskKey, Outcome]]:
        """Wait for tasks.

        Yields
        ------
        tuple
            Key of the task and what became of it. A task that took two workers down with it fails with
            `WorkerDiedError`, one that hung with `TaskTimeoutError`.

        Raises
        ------
        RunError
            If the scheduler is gone, or no worker offers what the tasks ask for.
        """
        while self._running or self._unsent or self._suspects:
            if not self._running and not self._unsent:
                self.submit(self._suspects.popleft())
            self._send()
            for task, outcome in self._collect(self._next()):
                if outcome is None:
                    self._accused.add(task.key)
                    self._suspects.append(task)
                    logger.warning(
                        "a worker died; what it was doing will be tried once more, each task by itself"
                    )
                    continue
                self._accused.discard(task.key)
                yield task.key, outcome

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

    def call(
        self, hear: Callable[[Mapping[str, Any]], None], function: Callable[..., Any], *arguments: Any
    ) -> Outcome:
        """Call a function on a worker and wait for it, with no other task under way.

        Parameters
        ----------
        hear
            Called here, in a thread of the client, with what the function passes to `tell_client`.
        function
            What to call.
        *arguments
            With what.

        Returns
        -------
        Outcome
            What became of it.
        """
        self._client.subscribe_topic(_TOPIC, lambda event: hear(event[1]))
        try:
            self.submit(Task(TaskKey("block", 0), function, arguments))
            ((_, outcome),) = self.outcomes()
        finally:
            self._client.unsubscribe_topic(_TOPIC)
        return outcome

    def _send(self) -> None:
        # Many in one message: each message costs client and scheduler more than the task in it.
        for start in range(0, len(self._unsent), _MOST_AT_ONCE):
            tasks = self._unsent[start : start + _MOST_AT_ONCE]
            futures = self._client.map(
                _run_here,
                [self.task_timeout_s] * len(tasks),
                [task.function for task in tasks],
                [task.arguments for task in tasks],
                pure=False,
                resources=self._resources,
            )
            for task, future in zip(tasks, futures, strict=True):
                self._running[str(future.key)] = (task, future)
                future.add_done_callback(self._ended.put)
        self._unsent.clear()

    def _next(self) -> list[Future[Any]]:
        # Waits for one, and takes what else has ended.
        while True:
            try:
                ended = [self._ended.get(timeout=_LOOK_EVERY_S)]
                break
            except Empty:
                self._look()
        with suppress(Empty):
            while len(ended) < _MOST_AT_ONCE:
                ended.append(self._ended.get_nowait())
        return ended

    def _collect(self, ended: list[Future[Any]]) -> Iterator[tuple[Task, Outcome | None]]:
        # None for a task that shall be tried again.
        tasks = [self._running.pop(str(future.key))[0] for future in ended]
        try:
            # One request for all. What cannot be had is None, and its future says why.
            results = self._client.gather(dict(enumerate(ended)), errors="skip")
        except OSError as error:
            raise RunError(self._gone()) from error
        for number, (task, future) in enumerate(zip(tasks, ended, strict=True)):
            yield task, self._outcome(task, future, results[number])

    def _outcome(self, task: Task, future: Future[Any], result: Any) -> Outcome | None:
        if result is not None:
            outcome, address = result
            if hung(outcome):
                self._restart(address)
            return outcome  # type: ignore[no-any-return]
        if future.status != "error":
            raise RunError(self._gone())
        error = future.exception()
        if not isinstance(error, KilledWorker):
            # `attempt_within` catches what the task raises; this is Dask's own.
            return Outcome(None, describe_failure(error), 0.0)
        if task.key not in self._accused:
            return None
        blamed = WorkerDiedError(
            f"two workers died of it, the second, {error.last_worker.address}, while nothing else ran: it crashes a "
            "library, or needs more memory than a worker has; see the worker's log, or give workers more memory"
        )
        return Outcome(None, describe_failure(blamed), 0.0)

    def _look(self) -> None:
        now = self._looked = time.monotonic()
        try:
            if self._client.status == "running":
                self._slots = self._count_slots()
                self._seen_scheduler = now
        except OSError:
            logger.debug("the scheduler does not answer")
        if self._client.status == "closed" or now - self._seen_scheduler > _PATIENCE_S:
            raise RunError(self._gone())
        if self._slots:
            self._seen_workers = now
        elif now - self._seen_workers > _PATIENCE_S:
            self._seen_workers = now
            logger.warning(
                "no worker for %.0f s: look at the queue of the batch system, and at the logs of jobs that ended",
                _PATIENCE_S,
            )
        if self._look_after is not None:
            self._look_after()

    def _count_slots(self) -> int:
        asked = self._resources
        if not asked:
            return sum(self._client.nthreads().values())
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        slots = 0
        for worker in workers:
            offered = worker.get("resources", {})
            slots += min(
                worker["nthreads"], *(int(offered.get(name, 0) / need) for name, need in asked.items())
            )
        if workers and not slots:
            wanted = ", ".join(f"{name}={need:g}" for name, need in asked.items())
            raise RunError(
                f"none of the {len(workers)} workers offers the resources {wanted}: start workers with "
                f"`dask worker --resources {wanted.replace(', ', ' ')}`, or mend cluster.resources"
            )
        return slots

    def _restart(self, address: str) -> None:
        try:
            self._client.restart_workers([address], timeout=_RESTART_S)
        except (OSError, ValueError) as error:  # TimeoutError among them
            logger.warning("worker %s hangs and cannot be started anew: %s", address, error)

    def _gone(self) -> str:
        return (
            f"the Dask scheduler {self._address} is gone: start it, and this command, again; "
            "blocks that are done are kept"
        )


def _run_here(
    limit_s: float | None, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Outcome, str]:
    return attempt_within(limit_s, function, *arguments), str(get_worker().address)


def tell_client(event: Mapping[str, Any]) -> None:
    """Send something from a task without a time limit to whoever waits for it in `DaskExecutor.call`.

    Parameters
    ----------
    event
        Numbers and texts.
    """
    get_worker().log_event(_TOPIC, dict(event))
