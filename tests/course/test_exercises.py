import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.course.errors import CourseError
from cnnlab.course.exercises import limits
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.judge import at_least, at_most
from cnnlab.course.exercises.limits import time_limit
from cnnlab.course.exercises.sandbox import output_of
from cnnlab.course.quiz import Option, Question, Quiz
from tests.tools.verify import verify


def area(height, width):
    return height * width


def perimeter(height, width):
    return 2 * (height + width)


def make(solution=area, **options):
    options = {
        "cases": ((2, 3), (4, 50_000)),
        "hints": ("One.", "Two."),
        "note": "Remember it.",
        "mistakes": (Mistake(perimeter, "That is the perimeter."),),
    } | options
    return Exercise("area", "Area", "implement", 3, solution, **options)


def value(solution, **options):
    return Exercise(
        "number",
        "A number",
        "compute",
        2,
        solution,
        **{"hints": ("Look.",), "note": "So it is."} | options,
    )


def says(exercise, answer):
    verdict = exercise.check(answer)
    assert not verdict.passed
    return verdict.message


# -- the ordinary ways


def test_a_right_answer_passes_and_says_what_to_remember():
    verdict = make().check(lambda h, w: w * h)
    assert verdict.passed
    assert str(verdict) == "area: right\nWell done.\nRemember it."
    assert "Remember it." in verdict.card().to_html()


def test_a_known_mistake_is_told():
    assert says(make(), lambda a, b: a + b + a + b) == "That is the perimeter."


def test_a_known_mistake_is_looked_at_once_however_often_an_answer_is_checked():
    called = []

    def doubled(height, width):
        called.append((height, width))
        return 2 * height * width

    exercise = make(mistakes=(Mistake(doubled, "Twice the area."),))
    for _ in range(2):  # each notebook's copy of the exercise knows it, too
        assert says(exercise.bound(None), lambda a, b: a * b + a * b) == "Twice the area."
    assert called == [(2, 3), (4, 50_000)]


def test_another_wrong_answer_shows_the_first_case_that_fails():
    def mine(height, width):
        return height * width if height < 3 else 7

    assert says(make(), mine) == "mine(height=4, width=50,000): returned 7, expected 200,000"
    assert says(make(reveal=False), mine) == "mine(height=4, width=50,000): 7 is too small"


@pytest.mark.parametrize("stub", [..., (1, ...), [...], {"a": ...}, lambda a, b: ...])
def test_a_stub_is_not_attempted(stub):
    assert make().check(stub).status == "not attempted"


def test_stubs_in_all_their_forms():
    def with_docstring(height, width):
        """Says what it should do."""
        ...

    def with_pass(height, width):
        pass

    def half_done(height, width):
        area = ...
        return area

    class Net(nn.Module):
        def forward(self, x): ...

    for stub in (with_docstring, with_pass, half_done, Net, Net()):
        assert make(observe=None).check(stub).status == "not attempted", stub
    assert make().check().status == "not attempted"


def test_a_function_that_forgets_its_return_has_been_attempted():
    def forgetful(height, width):
        height * width

    assert (
        says(make(), forgetful)
        == "forgetful(height=2, width=3): returns None: is the `return` missing?"
    )


# -- bad answers


@pytest.mark.parametrize(
    "answer, message",
    [
        (None, "got None"),
        (
            6,
            "got the number 6; this exercise checks the function itself: "
            "ex.area.check(my_function)",
        ),
        ("area", "got the string 'area'"),
        (lambda a: a, "takes (a), expected (height, width)"),
        (lambda a, b: a * b / 1, "returned 6.0, a float; the value is right"),
        (lambda a, b: str(a * b), "returned the string '6', expected a plain int: without quotes"),
        (lambda a, b: True, "returned the bool True, expected a plain int"),
        (lambda a, b: float("nan"), "returned NaN, which is not a number"),
        (lambda a, b: [a * b], "returned the list [6], expected a plain int"),
        (
            lambda a, b: torch.tensor(a * b),
            "returned a tensor of shape (); return a plain int: int(x)",
        ),
        (lambda a, b: torch.ones(2, 2), "returned a tensor of shape (2, 2); return a plain int"),
        (lambda a, b: area, "returned the function area, expected a plain int"),
        (lambda a, b: exit(3), "raises SystemExit: 3"),
    ],
)
def test_a_diagnosis_for(answer, message):
    assert message in says(make(), answer)


def test_an_error_is_shown_with_its_line():
    def mine(height, width):
        total = height
        return total / 0

    line = mine.__code__.co_firstlineno + 2
    assert says(make(), mine) == (
        "mine(height=2, width=3): raises ZeroDivisionError: division by zero "
        f"(line {line}: `return total / 0`)"
    )


def test_endless_recursion_is_an_error_like_any_other():
    def mine(height, width):
        return mine(height, width)

    assert "raises RecursionError" in says(make(), mine)


def test_an_endless_loop_is_stopped():
    def mine(height, width):
        while True:
            pass

    assert says(make(seconds=0.2), mine) == (
        "mine(height=2, width=3): still running after 0.2 s of computing, stopped: does a loop "
        "ever end?"
    )


def test_an_endless_loop_that_catches_exceptions_is_stopped():
    def mine(height, width):
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass

    assert "still running" in says(make(seconds=0.2), mine)


def test_an_endless_loop_that_catches_everything_is_stopped():
    def mine(height, width):
        while True:
            try:
                while True:
                    pass
            except:  # noqa: E722 - learners write it
                pass

    assert "still running" in says(make(seconds=0.2), mine)
    before = signal.getsignal(signal.SIGALRM)
    assert signal.getitimer(signal.ITIMER_REAL)[1] == 0 and before is not None


def test_an_endless_loop_in_another_thread_is_stopped():
    def mine(height, width):
        while True:
            pass

    found = []
    thread = threading.Thread(target=lambda: found.append(make(seconds=0.2).check(mine)))
    thread.start()
    thread.join(20)
    assert "still running" in found[0].message


def test_nothing_fires_after_the_limit_is_over():
    for _ in range(20):
        with time_limit(0.02):
            pass
    time.sleep(0.05)

    def in_a_thread():
        for _ in range(20):
            with time_limit(0.02):
                pass
        time.sleep(0.05)
        done.append(True)

    done = []
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join(20)
    assert done == [True]


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="Unix only")
def test_an_alarm_set_by_somebody_else_still_rings():
    import signal

    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        assert make().check(area).passed
        time.sleep(0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
    assert rung


def test_the_answer_cannot_change_the_cases():
    def total(values):
        return sum(values)

    def emptying(values):
        found = sum(values)
        values.clear()
        return found

    exercise = make(total, cases=(([1, 2, 3],),), mistakes=())
    assert exercise.check(emptying).passed and exercise.check(emptying).passed


def test_an_error_that_is_asked_for():
    def careful(n):
        if n < 0:
            raise ValueError("n is negative")
        return n

    exercise = make(careful, cases=(3, -1), mistakes=())
    assert exercise.check(careful).passed
    assert says(exercise, lambda n: n) == "f(n=-1): returns -1, expected ValueError"

    def wrong_error(n):
        return [3][n - 3] if n > 0 else [][n]

    assert "raises IndexError" in says(exercise, wrong_error)


# -- a judge that is never wrong


def works(answer):
    """An observation that needs a tool, which may be broken."""
    return {"twice": tool(answer)}


def tool(number):
    return 2 * number


def break_the_tool(monkeypatch):
    def broken(number):
        raise RuntimeError("no such operation")

    monkeypatch.setitem(globals(), "tool", broken)


@pytest.mark.parametrize("answer", [21, 3, 1_000_000, "x"])
def test_where_the_solution_cannot_be_examined_nobody_is_right(monkeypatch, answer):
    """Seen once: with trace broken, answer and solution failed alike, and that counted as equal."""
    exercise = make(21, observe=works, cases=(), mistakes=(Mistake(3, "A three."),))
    assert exercise.judge(21).passed
    break_the_tool(monkeypatch)
    verdict = exercise.judge(answer)
    assert verdict.status == "not judged" and not verdict.passed
    assert "The check itself is broken: it cannot examine its own solution" in verdict.message
    assert "no such operation" in verdict.message and "Restart the kernel" in verdict.message
    assert "expected" not in verdict.message, "nothing was expected of the solution"


def test_a_function_whose_solution_fails_elsewhere_is_not_judged(monkeypatch):
    elsewhere = {}
    exec(
        compile("def broken(x): raise RuntimeError('no such operation')", "lib", "exec"), elsewhere
    )
    exercise = make(lambda x: float(torch.relu(x)), cases=(torch.ones(()),), mistakes=())
    assert exercise.judge(lambda x: max(float(x), 0.0)).passed
    monkeypatch.setattr(torch, "relu", elsewhere["broken"])
    assert exercise.judge(lambda x: float(torch.relu(x))).status == "not judged"


def test_a_verdict_that_was_not_given_is_not_recorded_as_a_try(monkeypatch):
    exercise = make(21, observe=works, cases=(), mistakes=())
    break_the_tool(monkeypatch)
    records = []
    exercise.bound(records.append).check(21)
    assert [r.status for r in records] == ["not judged"]


def test_an_answer_that_agrees_with_two_mistakes_gets_neither_diagnosis():
    both = (Mistake(perimeter, "The perimeter."), Mistake(lambda a, b: (a + b) * 2, "Twice a + b."))
    exercise = make(mistakes=both)
    assert says(exercise, lambda a, b: a + a + b + b).startswith("f(a=2, b=3): returned 10, expec")


def test_an_answer_must_agree_with_a_mistake_in_every_case():
    def mine(height, width):
        return perimeter(height, width) if height == 2 else 0

    assert says(make(), mine).startswith("mine(height=2, width=3): returned 10, expected 6")


def test_small_tensors_are_told_so_that_the_case_can_be_typed_in():
    case = torch.tensor([[0.25, -1.0], [2.0, 3.5]])
    exercise = make(lambda x: float(x.sum()), cases=(case,), mistakes=())
    message = says(exercise, lambda x: 0.0)
    assert message.startswith("f(x=torch.tensor([[0.25, -1], [2, 3.5]])): returned 0")
    told = eval(message[4 : message.index("): returned")])
    assert torch.equal(told, case)


def test_slow_is_not_endless_when_it_is_the_machine(monkeypatch):
    """CPU time is counted: a machine that gives us nothing for a while changes no verdict."""
    clock = iter(range(0, 100_000, 5))  # five seconds pass at every look, and no CPU is used
    real = time.process_time

    def mine(height, width):
        began = real()
        while real() - began < 0.5:
            pass
        return height * width

    monkeypatch.setattr(limits.time, "monotonic", lambda: float(next(clock)))
    assert make(seconds=2).judge(mine).passed


def test_code_that_waits_is_told_that_it_waits(monkeypatch):
    monkeypatch.setattr(limits, "WAITING", 0.3)

    def mine(height, width):
        time.sleep(60)

    assert "it waits for something (sleep" in says(make(seconds=30), mine)


def test_nothing_is_stopped_inside_an_import(tmp_path, monkeypatch):
    """Half a module would be left behind, and every later check would fail."""
    (tmp_path / "slow_module.py").write_text(
        "import time\nbegan = time.process_time()\n"
        "while time.process_time() - began < 1: pass\ndone = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def mine(height, width):
        import slow_module

        while slow_module.done:
            pass

    assert "still running" in says(make(seconds=0.1), mine)
    assert sys.modules.pop("slow_module").done


def change_everything(height, width):
    import os
    import random

    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(7)
    random.seed(7)
    os.environ["CNNLAB_TEST_LEFT"] = "x"
    os.chdir("/")
    return height * width


def test_what_an_answer_changes_for_all_code_is_named_and_put_back():
    import os
    import random

    random.seed(3)
    torch.manual_seed(3)
    place, draws = os.getcwd(), (random.random(), torch.rand(2))
    random.seed(3)
    torch.manual_seed(3)
    verdict = make().judge(change_everything)
    assert verdict.passed
    for name in ("torch's default dtype", "torch's gradient switch", "current folder", "variables"):
        assert name in verdict.message
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert os.getcwd() == place and "CNNLAB_TEST_LEFT" not in os.environ
    assert random.random() == draws[0] and torch.equal(torch.rand(2), draws[1])


def test_switches_for_equal_runs_are_put_back_as_they_were():
    def turns_them(height, width):
        torch.backends.cudnn.deterministic = not torch.backends.cudnn.deterministic
        torch.set_deterministic_debug_mode("default")
        torch.set_float32_matmul_precision("medium")
        np.set_printoptions(precision=2)
        return height * width

    before, printed = torch.backends.cudnn.deterministic, np.get_printoptions()
    torch.set_deterministic_debug_mode("warn")
    try:
        message = make().judge(turns_them).message
        for name in ("torch's deterministic mode", "cuDNN's switches", "torch's matmul precision"):
            assert name in message
        assert "numpy's print options" in message and np.get_printoptions() == printed
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_deterministic_debug_mode() == 1
        assert torch.backends.cudnn.deterministic == before
    finally:
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.deterministic = before
        torch.set_float32_matmul_precision("highest")
        np.set_printoptions(**printed)


def test_what_an_earlier_cell_has_set_changes_no_verdict_and_stays():
    def scores(n):
        return torch.ones(n) / 3

    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    try:
        exercise = make(scores, cases=(3,), mistakes=())
        assert exercise.judge(scores).message == "Well done."
        assert exercise.judge(lambda n: torch.full((n,), 1 / 3, requires_grad=True)).passed
        assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


class Hostile:
    """An answer that refuses to be looked at."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __repr__(self):
        raise RuntimeError("no words")

    __hash__ = None


STRANGE = (
    *(Hostile(), Hostile, lambda *a: Hostile(), b"x", 1j, range(3), {1, 2}, iter([1]), object()),
    *(type, print, torch.nn.Linear(2, 2), torch.ones(2, dtype=torch.complex64), float("inf")),
)
ASKED = {
    "function": make(),
    "number": value(6),
    "tuple": value((1, 2)),
    "dict": value({"a": 1}),
    "word": value("word"),
    "tensor": make(torch.zeros_like, cases=((torch.ones(2),),), mistakes=()),
}


@pytest.mark.parametrize("answer", STRANGE, ids=lambda answer: type(answer).__name__)
@pytest.mark.parametrize("exercise", ASKED.values(), ids=ASKED)
def test_no_answer_of_any_type_is_right_or_raises(exercise, answer):
    verdict = exercise.judge(answer)
    assert not verdict.passed and verdict.message


# -- values, sequences, tensors


@pytest.mark.parametrize(
    "solution, answer, message",
    [
        (1728, 12, "12 is too small"),
        (1728, 36_928, "36,928 is too large"),
        (1728, 1728.0, "a float; the value is right"),
        (1728, float("nan"), "NaN"),
        (1728, area, "got the function area; this exercise asks for a plain int"),
        (0.25, 0.3, "0.3 is too large"),
        (504, 504.0000001, "504.0000001 is too large"),
        (0.25, "a quarter", "expected a plain float"),
        (True, 1, "expected True or False"),
        (True, False, "False is not it"),
        ("conv1", "conv2", "'conv2' is not it"),
        ("conv1", 3, "expected a string in quotes"),
        ((3, 4), (3,), "has 1 element, expected 2"),
        ((3, 4), (3, 5), "element 1: 5 is too large"),
        ((3, 4), 3, "expected a tuple of 2 elements"),
        ({"a": 1}, {"b": 1}, "has no key 'a'"),
        ({"a": 1}, {"a": 1, "b": 2}, "has a key too many: 'b'"),
    ],
)
def test_a_wrong_value(solution, answer, message):
    assert message in says(value(solution), answer)


@pytest.mark.parametrize(
    "solution, answer",
    [
        (0.25, 0.25 + 1e-9),
        (0.25, 1 / 4),
        (2.0, 2),
        ("conv1", " Conv1 "),
        ((3, 4), [3, 4]),
        ((3, 4), torch.Size([3, 4])),
        (True, True),
        (5, 5),
        (0.0, 0.0),
        (float("inf"), float("inf")),
    ],
)
def test_an_equal_value_passes(solution, answer):
    assert value(solution).check(answer).passed


def test_a_wrong_value_does_not_give_the_answer_away():
    assert "1728" not in says(value(1728), 12)


def tensor(n):
    return torch.arange(float(n)).reshape(1, n)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda n: torch.arange(float(n)), "has shape (3,), expected (1, 3)"),
        (lambda n: tensor(n) + torch.tensor([0, 0, 1.5]), "1 of 3 values differ, by up to 1.5"),
        (lambda n: tensor(n) * float("nan"), "has 3 NaNs among its 3 values"),
        (lambda n: tensor(n).double(), "has dtype torch.float64, expected torch.float32"),
        (lambda n: tensor(n).to("meta"), "is on the device meta"),
        (lambda n: 3, "returned the number 3, expected a tensor of shape (1, 3)"),
    ],
)
def test_a_wrong_tensor(answer, message):
    assert message in says(make(tensor, cases=(3,), mistakes=()), answer)


def test_a_tensor_equal_up_to_rounding_passes():
    assert make(tensor, cases=(3,), mistakes=()).check(lambda n: tensor(n) * (1 + 1e-7)).passed


# -- modules and designs


class Net(nn.Module):
    def __init__(self, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, kernel)

    def forward(self, x):
        return self.conv(x)


def observe(answer):
    model = answer() if isinstance(answer, type) else answer
    found = model(torch.ones(1, 3, 8, 8))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "output": found,
        "at most 200 parameters": sum(p.numel() for p in model.parameters()) <= 200,
    }


def test_modules_are_compared_by_what_is_observed():
    exercise = make(
        Net,
        observe=observe,
        cases=(),
        mistakes=(Mistake(Net(kernel=1), "That is a 1x1 convolution."),),
    )
    assert exercise.kind == "module"
    assert exercise.check(Net).passed
    assert says(exercise, Net(kernel=5)) == "parameters: got 304, expected 112"
    assert "cannot be examined: the string 'x'" in says(exercise, "x")


def test_a_bound_tells_what_was_got():
    exercise = make(
        (3, 0.5),
        observe=lambda answer: {
            "at most 4 layers": at_most(answer[0], 4),
            "at least 0.25": at_least(answer[1], 0.25),
        },
        cases=(),
        mistakes=(Mistake((9, 0.1), "Neither fits."),),
    )
    assert exercise.check((4, 0.25)).passed and exercise.check((-1, 7)).passed
    # Success shows the learner's own numbers beside the limits.
    assert str(exercise.judge((4, 7.25))).endswith(
        "limit             yours\nat most 4 layers      4\nat least 0.25       7.2"
    )
    assert says(exercise, (5, 1.0)) == "not fulfilled: at most 4 layers, got 5"
    assert says(exercise, (1, 0.0123)) == "not fulfilled: at least 0.25, got 0.012"
    assert says(exercise, (1000, 0.2)) == "Neither fits."


def test_a_class_that_cannot_be_built_is_told_so_without_the_solutions_name():
    cell = {}  # as in a notebook: not in the file of `observe`
    exec(compile("class Odd:\n    def __init__(self, k): self.k = k", "cell", "exec"), cell)
    message = says(make(Net, observe=lambda answer: {"it": answer() and 1}, cases=()), cell["Odd"])
    assert message.startswith("Odd cannot be built or run as the exercise does: it raises TypeErr")
    assert "Net" not in message and message.endswith("as the exercise gives them")


def test_an_output_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="gives the number 3, expected a tensor$"):
        output_of(lambda x: 3, 1)
    with pytest.raises(ValueError, match="gives None, expected a tensor: is the `return` missing"):
        output_of(lambda x: None, 1)


def test_a_value_is_got_not_returned():
    exercise = value(64)
    assert says(exercise, "64") == "got the string '64', expected a plain int: without quotes"
    assert says(exercise, 64.0) == (
        "got 64.0, a float; the value is right, but a whole number is "
        "expected: int(x), or // in place of /"
    )


@pytest.mark.parametrize(
    "answer, words",
    [
        ((76, 896), "a comma makes a tuple, write 76_896"),
        ("9x9", "expected a plain int: one number, without words"),
        ((0, 76_896), "expected a plain int: one number"),
    ],
)
def test_slips_of_typing_are_recognized(answer, words):
    assert words in says(value(76_896), answer)


@pytest.mark.parametrize("answer", [(19, 19), (76, 895), (1, 37, 5), (76, -896), ()])
def test_a_joined_number_that_is_not_the_answer_is_not_advised(answer):
    assert "write" not in says(value(76_896), answer)
    assert "write" not in says(value(19), answer)


def test_a_gap_inside_a_list_of_pairs_is_not_an_attempt():
    assert value([(3, 32)]).check([(3, ...)]).status == "not attempted"


def test_a_requirement_has_many_right_answers():
    def within(answer):
        if not isinstance(answer, int):
            raise ValueError(f"give a number of parameters, not {answer!r}")
        return {"at most 200 parameters": answer <= 200, "more than none": answer > 0}

    exercise = make(100, observe=within, cases=(), mistakes=())
    assert exercise.check(7).passed and exercise.check(200).passed
    assert says(exercise, 201) == "not fulfilled: at most 200 parameters"
    assert says(exercise, "many") == "give a number of parameters, not 'many'"


def test_checking_leaves_the_random_numbers_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make(Net, observe=observe, cases=(), mistakes=()).check(Net)
    assert torch.equal(torch.rand(3), expected)


def test_what_is_observed_does_not_depend_on_earlier_random_numbers():
    def told(seed):
        torch.manual_seed(seed)
        drawn = make(
            0.5,
            observe=lambda answer: {"drawn": float(torch.rand(()))},
            cases=(),
            mistakes=(),
            reveal=True,
        )
        return drawn._observations(3, None)

    assert told(1) == told(2)


def test_an_observation_that_is_missing_is_said():
    def observe_layers(answer):
        return {f"layer {i}": width for i, width in enumerate(answer)}

    exercise = make([8, 16], observe=observe_layers, cases=(), mistakes=())
    assert exercise.check([8, 16]).passed
    assert says(exercise, [8]) == "gives 1 observation, expected 2"
    assert says(exercise, [8, 16, 32]) == "gives 3 observations, expected 2"


# -- hints, solutions, overview


def test_hints_come_one_by_one():
    exercise = make()
    said = [str(exercise.hint_card(number)) for number in (1, 1, 2, 3, 0)]
    assert said[0] == said[1] == "area: hint 1 of 2\nOne.\nThe next: ex.area.hint(2)"
    assert said[2] == "area: hint 2 of 2\nTwo."
    assert said[3].startswith("area: no hint 3\nThere are 2;") and "no hint 0" in said[4]


def test_every_call_shows_its_own_card(capsys):
    """A cell shows its last expression only: with each one uncommented, all three are seen."""
    exercise = make()
    verdict = exercise.check(perimeter)
    exercise.hint()
    exercise.solution()
    shown = capsys.readouterr().out
    places = [shown.index(text) for text in ("area: not yet", "area: hint 1", "area: solution")]
    assert places == sorted(places) and verdict._ipython_display_() is None
    assert verdict._display_() == verdict.card()  # what marimo shows of a last expression
    assert exercise.judge(area).passed and capsys.readouterr().out == ""


def test_solutions_can_be_hidden_for_a_class(monkeypatch):
    monkeypatch.setenv("CNNLAB_SOLUTIONS", "hide")
    assert str(make().solution_card()).startswith("area: the solution is hidden")


def test_the_solution_is_shown_as_it_is_written():
    assert "def area(height, width):\n    return height * width" in str(make().solution_card())
    assert str(value(6, working="2 * 3").solution_card()) == (
        "number: solution\nSo it is.\n2 * 3\n6"
    )


def test_exercises_are_found_by_name():
    exercises = Exercises(make(), value(6))
    assert exercises.area.name == "area" and len(exercises) == 2
    assert "number" in dir(exercises)
    with pytest.raises(AttributeError, match="no exercise 'aera'. Did you mean 'area'"):
        _ = exercises.aera


def test_the_overview_knows_what_was_passed():
    records = []
    exercises = Exercises(make(), value(6)).bound(records.append, passed=["number"])
    assert str(exercises).count("open") == 1
    exercises.area.check(perimeter)
    exercises.area.check(area)
    assert str(exercises).splitlines()[0] == "2 exercises, about 5 minutes"
    assert str(exercises).count("passed") == 2 and "open" not in str(exercises)
    assert [r.status for r in records] == ["wrong", "passed"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: Exercise("a", "t", "easy", 1, 3), "level 'easy' is not known; use one of recall"),
        (lambda: Exercise("a", "t", "recall", 1, area), "a function needs cases"),
        (lambda: Exercises(make(), make()), "two exercises have the same name"),
        (lambda: Question("q", (Option("a", "f", right=True),)), "give at least two"),
        (lambda: Question("q", (Option("a", "f"), Option("b", "f"))), "0 of them right"),
        (
            lambda: Question("q", (Option("a", "", right=True), Option("b", "f"))),
            "needs its feedback",
        ),
    ],
)
def test_a_badly_made_exercise_is_refused(wrong, message):
    with pytest.raises(CourseError, match=message):
        wrong()


# -- quiz


def test_quiz_score():
    quiz = Quiz(*[Question("q", (Option("a", "f", right=True), Option("b", "f")))] * 3)
    assert quiz.score([0, 1, None]) == 1
    assert quiz.score([0, 0, 0]) == 3
    with pytest.raises(CourseError, match="got 2 answers for 3 questions"):
        quiz.score([0, 0])


# -- verify finds what is wrong


def test_verify_accepts_sound_exercises():
    assert verify(make()) == []
    assert verify(value(6, mistakes=(Mistake(5, "One too few."),))) == []
    assert (
        verify(make(Net, observe=observe, cases=(), mistakes=(Mistake(Net(kernel=1), "1x1."),)))
        == []
    )


def test_verify_finds_a_solution_that_does_not_pass():
    calls = []

    def moody(height, width):
        calls.append(1)
        return len(calls)

    assert any("solution does not pass" in p for p in verify(make(moody, mistakes=())))


def test_verify_finds_a_mistake_that_is_none():
    right = Mistake(lambda h, w: w * h, "Never shown.")
    assert any("mistake 0 is answered passed" in p for p in verify(make(mistakes=(right,))))


def test_verify_finds_two_mistakes_that_look_the_same():
    twice = (Mistake(perimeter, "One."), Mistake(lambda a, b: 2 * a + 2 * b, "Two."))
    assert any("mistake 1" in p and "'Two.'" in p for p in verify(make(mistakes=twice)))


def test_verify_finds_a_check_that_accepts_nonsense():
    lenient = make(3, observe=lambda answer: {"fine": True}, cases=(), mistakes=())
    assert any("a word is passed" in p for p in verify(lenient))


def test_verify_finds_missing_words():
    assert any("no hint" in p for p in verify(make(hints=())))
    assert any("note" in p for p in verify(make(note="")))


def test_cards_hold_no_addresses():
    verdict = make().check(lambda a, b: object())
    assert "0x" not in str(verdict) and "an object of type object" in verdict.message


def test_the_frame_does_not_import_torch():
    import subprocess

    # `signal` comes with subprocess and the like: what Python itself has loaded does not count.
    code = (
        "import sys; before = set(sys.modules); "
        "import sys, cnnlab.course.exercises.exercise as e; "
        "assert e.Exercise('a', 'A', 'recall', 1, 3).judge(3).passed; "
        "assert not {'torch', 'ipywidgets', 'numpy', 'signal'} & set(sys.modules) - before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
