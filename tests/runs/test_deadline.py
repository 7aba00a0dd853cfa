"""Calls may take only so long."""

import threading
import time

from slidepipe.runs.deadline import attempt_within, hung


def test_a_call_in_time_gives_its_value_and_keeps_its_thread_for_the_next():
    first = attempt_within(10, threading.get_ident)
    second = attempt_within(10, threading.get_ident)
    assert first.value == second.value != threading.get_ident()
    assert not hung(first)


def test_without_a_limit_the_call_is_made_in_this_thread():
    assert attempt_within(None, threading.get_ident).value == threading.get_ident()


def test_a_call_that_raises_in_time_is_a_failure():
    failure = attempt_within(10, int, "seven").failure
    assert failure is not None
    assert failure.kind == "ValueError"


def test_a_call_that_hangs_fails_and_the_next_one_has_a_thread_of_its_own():
    hangs = threading.Event()
    outcome = attempt_within(0.2, hangs.wait)
    assert hung(outcome)
    assert outcome.failure is not None
    assert "within 0.2 s, in wait (threading.py:" in outcome.failure.message
    assert "hangs.wait" not in outcome.failure.message
    assert attempt_within(10, pow, 2, 3).value == 8
    hangs.set()


def test_a_late_value_is_not_taken_for_that_of_the_next_call():
    assert hung(attempt_within(0.1, time.sleep, 0.3))
    time.sleep(0.4)
    assert attempt_within(10, pow, 2, 3).value == 8


def test_a_task_that_ends_its_thread_is_a_failure():
    failure = attempt_within(10, _leave).failure
    assert failure is not None
    assert "ended its thread" in failure.message
    assert attempt_within(10, pow, 2, 3).value == 8


def _leave() -> None:
    raise SystemExit
