"""Calls that may take only so long: a slide on a dead mount, or one that is a pipe, hangs for ever in a system call.

No thread can be ended from outside. A call therefore runs in a helper thread, which is left behind if it hangs; where
that thread is in the way, such as on a worker, the process has to be started anew.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from slidepipe.errors import TaskTimeoutError
from slidepipe.runs.journal import Failure, Outcome, attempt, describe_failure


class _Helper(threading.local):
    """The helper of this thread. It is kept for the next call, with the slides that it has open."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        self.outcomes: SimpleQueue[Outcome | None] = SimpleQueue()

    def start(self) -> threading.Thread:
        self.calls, self.outcomes = SimpleQueue(), SimpleQueue()
        thread = threading.Thread(target=_work, args=(self.calls, self.outcomes), daemon=True, name="task")
        thread.start()
        self.thread = thread
        return thread


_helper = _Helper()


def attempt_within(limit_s: float | None, function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function and catch whatever it raises, or that it does not return in time.

    Parameters
    ----------
    limit_s
        Longest time in seconds; None waits for ever, and calls in this thread.
    function
        What to call.
    *arguments
        With what.

    Returns
    -------
    Outcome
        The value or the failure. A `TaskTimeoutError` tells where the call stood; it goes on standing there, until the
        process ends.
    """
    if limit_s is None:
        return attempt(function, *arguments)
    thread = _helper.thread if _helper.thread is not None and _helper.thread.is_alive() else _helper.start()
    _helper.calls.put((function, arguments))
    try:
        outcome = _helper.outcomes.get(timeout=limit_s)
    except Empty:
        _helper.thread = None
        return Outcome(None, _timeout(limit_s, thread), limit_s)
    if outcome is None:
        return Outcome(None, describe_failure(SystemError("the task ended its thread")), 0.0)
    return outcome


def hung(outcome: Outcome) -> bool:
    """Tell whether an outcome is that of a call that still hangs in its process.

    Parameters
    ----------
    outcome
        What became of the call.

    Returns
    -------
    bool
        True if the process should be started anew.
    """
    return outcome.failure is not None and outcome.failure.kind == TaskTimeoutError.__name__


def _work(
    calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]], outcomes: SimpleQueue[Outcome | None]
) -> None:
    while True:
        function, arguments = calls.get()
        outcome = None
        try:
            outcome = attempt(function, *arguments)
        except SystemExit:
            return
        finally:
            outcomes.put(outcome)
        # What a task leaves behind would otherwise live until the next one.
        del function, arguments, outcome


def _timeout(limit_s: float, thread: threading.Thread) -> Failure:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame is not None else []
    place = (
        f", in {stack[-1].name} ({stack[-1].filename.rpartition('/')[2]}:{stack[-1].lineno})" if stack else ""
    )
    message = (
        f"no answer within {limit_s:g} s{place}: look whether the file and its disk can be read; if they only are "
        "slow, raise cluster.task_timeout_s"
    )
    return Failure(TaskTimeoutError.__name__, message, "".join(traceback.format_list(stack)), expected=True)
