"""The clock of a page: fair turns, and nothing of the machine changed."""

from __future__ import annotations

import pytest
import torch

from cnnlab.course.errors import CourseError
from cnnlab.course.timing import fastest


def test_calls_take_turns_and_the_first_round_does_not_count(monkeypatch):
    clock = iter([0, 9, 9, 18, 20, 23, 23, 27, 30, 32, 32, 38])  # three rounds of two calls
    monkeypatch.setattr("cnnlab.course.timing.perf_counter", lambda: next(clock))
    order = []
    times = fastest({"a": lambda x: order.append(x), "b": lambda x: order.append(-x)}, 1, rounds=2)
    assert order == [1, -1, 1, -1, 1, -1]
    assert times == {"a": 2000, "b": 4000}  # of 3, 2 and of 4, 6 seconds; 9 and 9 warmed up


def test_without_gradients_and_with_the_threads_put_back():
    before = torch.get_num_threads()
    seen = []
    fastest({"a": lambda: seen.append((torch.is_grad_enabled(), torch.get_num_threads()))})
    assert set(seen) == {(False, 1)} and torch.get_num_threads() == before


def test_an_error_puts_the_threads_back_too():
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        fastest({"a": lambda: 1 / 0})
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize("calls, rounds", [({}, 3), ({"a": print}, 0)])
def test_nothing_to_time_is_refused(calls, rounds):
    with pytest.raises(CourseError, match="give at least one of each"):
        fastest(calls, rounds=rounds)
