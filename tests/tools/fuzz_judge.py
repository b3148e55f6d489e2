"""Fuzz of the judge: thousands of answers to every exercise, and the truth from cases it lacks.

    python -m tests.tools.fuzz_judge [NUMBER] [CHAPTER.NAME ...]

Answers are the solution and each known mistake with one or two tokens changed, constants near the
solution, and random designs. The truth comes from fresh random cases, twenty times as many as the
judge holds. Reported: wrong passes, right answers refused, diagnoses of a mistake that the fresh
cases say was not made.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pkgutil
import random
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from cnnlab.course import exercises as package
from cnnlab.course.exercises.exercise import MORE_CASES, Exercise
from cnnlab.course.exercises.sandbox import Failure, attempt, same_failure
from cnnlab.models.design import Design
from tests.tools.fuzz_designs import DESIGNS, MODULES
from tests.tools.fuzz_functions import BEHAVIOR, FUNCTIONS, WIDER
from tests.tools.fuzz_styles import faults

FRESH = 20


@dataclass
class Report:
    """What the fuzz of one exercise found; every list holds answers as text."""

    name: str
    tried: int = 0  # answers, of which `right` are right and all others wrong
    right: int = 0
    wrong_passes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    false_diagnoses: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    def row(self) -> str:
        counts = (self.wrong_passes, self.refused, self.false_diagnoses, self.unjudged)
        return f"{self.name:16} {self.tried - self.right:6} {self.right:6} " + " ".join(
            f"{len(found):7}" for found in counts
        )


HEAD = f"   {'exercise':16} {'wrong':>6} {'right':>6}  passed refused  misled unjudged"


def fuzz(exercise: Exercise, number: int, chapter: str = "", truth: Truth | None = None) -> Report:
    draw, report = random.Random(0), Report(exercise.name)
    key = exercise.name if exercise.name in DESIGNS else f"{chapter}.{exercise.name}"
    design = DESIGNS.get(key)
    truth = truth or truth_of(exercise, design)
    quick = copy.copy(exercise)
    quick.seconds = 0.5  # mutants loop
    for text, answer in answers(exercise, number, draw, design):
        report.tried += 1
        is_right = truth(answer, exercise.answer)
        verdict = quick.judge(answer)
        report.right += is_right
        if verdict.status == "not judged":
            report.unjudged.append(f"{text}\n  {verdict.message}")
        elif verdict.passed and not is_right:
            report.wrong_passes.append(text)
        elif is_right and not verdict.passed:
            report.refused.append(f"{text}\n  {verdict.message}")
        else:
            told = [m for m in exercise.mistakes if m.message in verdict.message]
            alone = design or exercise.name in FUNCTIONS  # the truth knows right answers only
            if told and not alone and not truth(answer, told[0].answer):
                report.false_diagnoses.append(f"{text}\n  {verdict.message}")
    return report


# -- the truth

Truth = Callable[[object, object], bool]


def truth_of(exercise: Exercise, design: tuple | None = None) -> Truth:
    """Whether an answer does the same as another one, on cases that the judge does not hold."""
    if exercise.kind == "value" and isinstance(exercise.answer, float):
        near = exercise.tolerance
        return lambda one, other: _same_value(one, other) or abs(one - other) <= near * abs(other)
    if exercise.kind == "value":
        return _same_value
    if exercise.name in FUNCTIONS:
        holds = FUNCTIONS[exercise.name]
        assert holds(exercise.answer), f"{exercise.name}: the truth refuses the solution"
        return lambda one, other: attempt(lambda: holds(one), None, 2.0, []) is True
    if exercise.name in BEHAVIOR:
        behaves = BEHAVIOR[exercise.name]
        kept: dict[int, object] = {}

        def same_behavior(one: object, other: object) -> bool:
            if id(other) not in kept:
                kept[id(other)] = attempt(lambda: behaves(other), None, None, [])
            mine, wanted = attempt(lambda: behaves(one), None, 2.0, []), kept[id(other)]
            failed = isinstance(mine, Failure) or isinstance(wanted, Failure)
            return same_failure(mine, wanted, True) if failed else _same_value(mine, wanted)

        return same_behavior
    if exercise.kind == "function":
        draw = random.Random(4711)
        more = WIDER.get(exercise.name, exercise.more)
        fresh = [more(draw) for _ in range(FRESH * MORE_CASES)]
        cases = [*exercise.cases, *fresh]
        known: dict[int, list] = {}

        def same_calls(one: object, other: object) -> bool:
            if id(other) not in known:
                known[id(other)] = [
                    _outcome(lambda case=case: other(*copy.deepcopy(case))) for case in cases
                ]
            return _same_calls(one, known[id(other)], cases)

        return same_calls
    if design:
        return lambda one, other: design[1](one)
    fresh = MODULES[exercise.name]

    def same(one: object, other: object) -> bool:
        draw = random.Random(4711)
        return all(_same_module(one, other, *fresh(draw)) for _ in range(FRESH))

    return same


def _same_value(got: object, expected: object) -> bool:
    if isinstance(expected, (tuple, list)):
        return (
            isinstance(got, (tuple, list))
            and len(got) == len(expected)
            and all(map(_same_value, got, expected))
        )
    if isinstance(expected, torch.Tensor):
        return (
            isinstance(got, torch.Tensor)
            and got.shape == expected.shape
            and torch.allclose(got.double(), expected.double(), rtol=1e-4, atol=1e-4)
        )
    if isinstance(expected, bool) or isinstance(got, bool):
        return got is expected
    if isinstance(expected, int):
        return isinstance(got, int) and got == expected
    if isinstance(expected, float):
        return isinstance(got, (int, float)) and abs(got - expected) <= 1e-6 * abs(expected)
    return got == expected


def _run(call: Callable[[], object]) -> object:
    return attempt(call, None, 0.5, [])


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return type(error)


def _same_calls(one: object, expected: list, cases: list[tuple]) -> bool:
    def all_same() -> bool:
        return all(
            _same_value(_outcome(lambda case=case: one(*copy.deepcopy(case))), wanted)
            for case, wanted in zip(cases, expected)
        )

    return attempt(all_same, None, 2.0, []) is True


def _same_module(one: object, other: object, arguments: tuple, shape: tuple[int, ...]) -> bool:
    """Mutants keep the names of their layers: the weights go over by name."""

    wrong, mine = (_run(lambda build=build: build(*arguments)) for build in (other, one))
    if isinstance(wrong, Failure) or isinstance(mine, Failure):
        return same_failure(mine, wrong, same_errors=True)

    def outputs() -> list:
        a, b = one(*arguments), other(*arguments)
        for tensor in [*b.parameters(), *b.buffers()]:
            if tensor.is_floating_point():
                tensor.data.copy_(torch.rand_like(tensor) - 0.4 * (tensor.ndim > 0))
        for name, tensor in b.named_buffers():
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
        a.load_state_dict(b.state_dict())
        x = torch.randn(shape)
        found = []
        for training in (False, True):
            a.train(training), b.train(training)
            given = x.clone()
            torch.manual_seed(1)
            mine = a(given)
            torch.manual_seed(1)
            found.append((mine, b(x.clone())))
            if not torch.equal(given, x) and other is not one:
                kept = x.clone()
                b(kept)
                if torch.equal(kept, x):
                    found.append((torch.zeros(1), torch.ones(1)))
        return found

    found = _run(outputs)
    if isinstance(found, Failure):  # the same one?
        x = torch.randn(shape)
        mine, wanted = (_run(lambda build=build: build(*arguments)(x)) for build in (one, other))
        return same_failure(mine, wanted, same_errors=True)
    with torch.no_grad():
        return all(_same_value(a, b) for a, b in found)


# -- the answers


def answers(
    exercise: Exercise, number: int, draw: random.Random, design: tuple | None
) -> Iterator[tuple[str, object]]:
    seeds = [exercise.answer, *(m.answer for m in exercise.mistakes)]
    if exercise.kind == "value":
        for _ in range(number):
            value = _near(draw.choice(seeds), draw)
            yield repr(value), value
    elif design:
        for at in range(number):
            made = design[0](draw) if at % 2 else _near(draw.choice(seeds), draw)
            yield repr(made), made
    else:
        seen: set[str] = set()
        for _ in range(number):
            answer = draw.choice(seeds)
            mutant = mutated(answer, draw)
            if mutant and mutant[0] not in seen:
                seen.add(mutant[0])
                yield mutant


def _near(value: object, draw: random.Random) -> object:
    if isinstance(value, (tuple, list)):
        parts = list(value)
        at = draw.randrange(len(parts))
        parts[at] = _near(parts[at], draw)
        return type(value)(parts)
    if isinstance(value, Design):
        fields = [list(part) for part in (value.convs, value.widths, value.strides)]
        fields = _near(fields, draw)
        return Design(*map(tuple, fields), draw.choice((value.skips, not value.skips)))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice(
            (value, value + 1, value - 1, 2 * value, value // 2, value + draw.randint(-9, 9))
        )
    if isinstance(value, float):
        return value * draw.choice((1, 1 + 1e-9, 1.1, 0.5, 2, 1.02, 0.98, 10))
    return draw.choice((value, str(value) + "x", 0))


def mutated(answer: object, draw: random.Random) -> tuple[str, object] | None:
    """The answer's source with one or two tokens changed, compiled in its own module."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    for _ in range(draw.choice((1, 1, 2))):
        spots = [spot for node in ast.walk(tree) for spot in _changes(node, tree)]
        if not spots:
            return None
        draw.choice(spots)()
    ast.fix_missing_locations(tree)
    text = ast.unparse(tree)
    space = dict(vars(sys.modules[answer.__module__]), _same=lambda x: x)
    try:
        exec(compile(text, "mutant", "exec"), space)  # own modules' sources, changed
    except Exception:
        return None
    return text, space[answer.__name__]


OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Div)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


def _changes(node: ast.AST, tree: ast.AST) -> Iterator[Callable[[], None]]:
    """Each way to change one token at `node`."""

    def put(owner, name, value):
        return lambda: setattr(owner, name, value)

    if isinstance(node, ast.BinOp):
        yield from (put(node, "op", new()) for new in OPERATORS if not isinstance(node.op, new))
        yield lambda: node.__dict__.update(left=node.right, right=node.left)
    if isinstance(node, ast.Compare):
        yield from (
            put(node, "ops", [new()]) for new in COMPARISONS if not isinstance(node.ops[0], new)
        )
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield from (put(node, "value", node.value + step) for step in (1, -1))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield put(node, "value", not node.value)
    if isinstance(node, ast.Call):
        for at in range(len(node.keywords)):
            yield lambda at=at: node.keywords.pop(at)
        if len(node.args) >= 2:
            yield lambda: node.args.__setitem__(slice(0, 2), node.args[1::-1])
        if len(node.args) == 1 and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield lambda: node.__dict__.update(vars(_Same(node.args[0])))
    if isinstance(node, ast.Attribute):
        others = {
            n.attr
            for n in ast.walk(tree)
            if isinstance(n, ast.Attribute)
            and ast.dump(n.value) == ast.dump(node.value)
            and n.attr != node.attr
        }
        yield from (put(node, "attr", other) for other in sorted(others))
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        others = {a.arg for f in ast.walk(tree) if isinstance(f, ast.arguments) for a in f.args}
        yield from (put(node, "id", other) for other in sorted(others - {node.id, "self"}))


class _Same:
    """A call `f(x)` without its f."""

    def __init__(self, inner: ast.expr):
        self.func = ast.Name("_same", ast.Load())
        self.args, self.keywords = [inner], []


def can_be_fuzzed(exercise: Exercise, chapter: str) -> bool:
    if exercise.kind == "module":
        known = {*DESIGNS, *MODULES, *FUNCTIONS, *BEHAVIOR}
        return bool({exercise.name, f"{chapter}.{exercise.name}"} & known)
    return exercise.kind == "value" or exercise.more is not None


def exercises() -> Iterator[tuple[str, Exercise]]:
    """(chapter, exercise) of all chapters that there are."""
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        if re.fullmatch(r"ch\d\d", module):
            found = importlib.import_module(f"{package.__name__}.{module}")
            yield from ((module[2:], exercise) for exercise in found.exercises)


def main(arguments: list[str]) -> int:
    number = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 1000
    torch.set_num_threads(1)
    bad = 0
    print(HEAD)
    for chapter, exercise in exercises():
        if arguments and not {chapter, f"{chapter}.{exercise.name}"} & {*arguments}:
            continue
        tried, wrong = faults(exercise)
        print(chapter, f"{exercise.name:16} styles: {tried} tried, {len(wrong)} wrong", flush=True)
        for text in wrong:
            print(f"      {text[:300]}", flush=True)
        if not can_be_fuzzed(exercise, chapter):
            print(chapter, f"{exercise.name:16} no truth of its own: not fuzzed")
            continue
        report = fuzz(exercise, number, chapter)
        print(chapter, report.row(), flush=True)
        for kind in ("wrong_passes", "refused", "false_diagnoses", "unjudged"):
            for text in getattr(report, kind)[:4]:
                print(textwrap.indent(f"{kind}: {text}", "      "), flush=True)
        bad += len(report.wrong_passes) + len(report.refused) + len(wrong)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
