"""Chapter 10: its claims have their cells, its exercises tell, its timeline adds up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.course.exercises import ch10, ch10_answers
from cnnlab.course.exercises.ch10_checkpoint import Checkpoint
from cnnlab.course.explorers.ch10_step import LONG, draw, lasting, timeline
from tests.course.chapter import stored_cells, texts

START = {
    "load": 20,
    "copy": 4,
    "compute": 10,
    "workers": 0,
    "overlap": False,
    "resident": False,
}
# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the best of 100 looks is too good": ("10-best", "the best of 100 each above 0.2 \u2713"),
    "the loop is what fit does": ("10-equal-verdict", "40 0"),
    "cross-entropy needs no one-hot": ("10-loss-ways", "0 0.2413 0.2413 0.2413"),
    "ln(classes) is a guess": ("10-loss-ways", "1 1.0986 1.0986 1.0986"),
    "more parameters read more of new images": (
        "10-over-verdict",
        "wide ahead of narrow, validation on average above 2 \u2713",
    ),
    "augmentation closes the gap": (
        "10-over-verdict",
        "gap closed by the shifts on average above 3 \u2713",
    ),
    "what choosing by the test adds": ("10-honest-verdict", "choosing by the test adds"),
    "resumed to the bit": ("10-resume-verdict", "resumed 4 80 0"),
    "a larger batch loses, and the rule wins most of it back": (
        "10-batch",
        "lost by the larger batch on average above 5 \u2713",
    ),
    "the rule of the rate": ("10-batch", "won back by the rule on average above 3 \u2713"),
    "it does not win back all": ("10-batch", "still missing on average above 1 \u2713"),
    "two processes learn the same": (
        "10-two-verdict",
        "largest difference of a loss below 0.001 \u2713",
    ),
}


@pytest.mark.parametrize(
    "changes, period",
    [
        ({}, 34),  # 20 + 4 + 10: everything in turns
        ({"workers": 1}, 24),  # 20 + 4: the one worker loads and waits for its copy
        ({"workers": 2, "overlap": True}, 12),  # 24 for two
        ({"workers": 3}, 14),  # 4 + 10: only the copy is waited for
        ({"workers": 3, "overlap": True}, 10),
        ({"workers": 8, "overlap": True, "compute": 1}, 4),  # the copy is the slowest
        ({"resident": True}, 10),
    ],
)
def test_the_lasting_time_of_a_step(changes, period):
    """Counted by hand from who waits for whom."""
    given = START | changes
    got, busy = lasting(timeline(**given), given["workers"])
    assert got == pytest.approx(period)
    assert busy == pytest.approx((START | changes)["compute"] / period)


MS = st.integers(1, 60)


@settings(max_examples=60)
@given(MS, MS, MS, st.integers(0, 8), st.booleans(), st.booleans())
def test_no_lane_does_two_things_at_once_and_no_step_begins_too_early(
    load, copy, compute, workers, resident, overlap
):
    spans = timeline(load, copy, compute, workers, resident, overlap)
    by_kind = {kind: [s for s in spans if s.kind == kind] for kind in ("load", "copy", "compute")}
    assert len(by_kind["compute"]) == LONG
    lanes = [by_kind["copy"], by_kind["compute"]]
    lanes += [by_kind["load"][who :: max(workers, 1)] for who in range(max(workers, 1))]
    if not workers or not overlap:
        lanes.append(sorted(by_kind["copy"] + by_kind["compute"], key=lambda s: s.begin))
    for lane in lanes:
        assert all(a.end <= b.begin for a, b in zip(lane, lane[1:]))
    for earlier, later in (("load", "copy"), ("copy", "compute")):
        for a, b in zip(by_kind[earlier], by_kind[later]):
            assert a.step == b.step and a.end <= b.begin


@settings(max_examples=60)
@given(MS, MS, MS, st.integers(1, 8), st.booleans())
def test_what_the_verdict_advises_makes_a_step_shorter(load, copy, compute, workers, overlap):
    given = {"load": load, "copy": copy, "compute": compute, "workers": workers}
    given |= {"overlap": overlap, "resident": False}

    def period(**changes):
        new = given | changes
        return lasting(timeline(**new), new["workers"])[0]

    said, now = " ".join(texts(draw(**given))), period() - 1e-9
    helps = {
        "more processes, or": [{"workers": workers + 1}, {"load": load - 1}],
        "overlap it, or": [{"overlap": True}, {"resident": True}],
        "more processes, and overlap": [{"workers": workers + 1, "overlap": True}],
        "copy: keep": [{"resident": True}],
        "win nothing": [],
    }
    (advice,) = (words for words in helps if words in said)
    assert all(period(**changes) < now for changes in helps[advice])
    if not helps[advice]:
        assert period(load=0, copy=0, overlap=True) >= now


def test_the_picture_says_its_verdict():
    words = " ".join(texts(draw(**START)))
    assert "34 ms a step; the device computes 29% of the time" in words
    assert "Everything lies on the device" in " ".join(texts(draw(**START | {"resident": True})))


def test_every_repair_of_the_five_faults_is_told_from_the_rest():
    """With one fault left, that one is named; the given code has all five."""
    judge = ch10.exercises.epoch.judge
    assert "All five" in judge(ch10_answers.epoch_with_five_faults).message
    for answer, words in (
        (ch10_answers._without_zero_grad, "adds to the gradients"),
        (ch10_answers._never_eval, "model.eval() before the validation"),
        (ch10_answers._never_train, "model.train() first"),
        (ch10_answers._rate_twice, "falls twice as fast"),
        (ch10_answers._per_batch, "one of images, not of batches"),
    ):
        assert words in judge(answer).message
    assert judge(ch10_answers.run_epoch).passed


@pytest.mark.parametrize(
    "name, function, words",
    [
        ("epoch", "run_epoch", "All five"),
        ("clock", "my_timing", "and in seconds"),
        ("resume", "Checkpoint", "All four"),
    ],
)
def test_the_cell_holds_the_code_with_all_faults(name, function, words):
    space = {"torch": torch, "F": torch.nn.functional}
    source = stored_cells("10")[f"10-ex-{name}"].source
    exec(source[: source.index(f"ex.{name}.check")], space)
    assert words in getattr(ch10.exercises, name).judge(space[function]).message


def timed(call, wait, clock, warm=1, count=5, waits=True, inside=False):
    """Milliseconds of `count` calls, sorted, after `warm` others and, with `waits`, a wait."""
    for _ in range(warm):
        call()
    if waits:
        wait()
    times = []
    for _ in range(count):
        began = clock()
        if inside:  # each timing holds the call before it
            wait()
        call()
        if not inside:
            wait()
        times.append(1000 * (clock() - began))
    return sorted(times)


@pytest.mark.parametrize("warm", [1, 2, 3, 4, 5])
def test_any_number_of_calls_may_come_before_the_timed_ones(warm):
    judge = ch10.exercises.clock.judge
    assert judge(lambda call, wait, clock: timed(call, wait, clock, warm)[2]).passed
    assert not judge(
        lambda call, wait, clock: timed(call, wait, clock, warm, waits=False)[2]
    ).passed


def test_the_device_of_the_check_keeps_time():
    """By hand: 30 ms stand in the queue; 0.5 ms to hand a piece over, then 7 and 8 ms of work."""
    device = ch10_answers.Device((8.0, 9.0), first=7.0, queued=30.0, launch=0.5)
    began = device.clock()
    for call, expected in ((1, 30 + 7), (2, 30 + 7 + 0.5 + 9), (3, 30 + 7 + 2 * 0.5 + 9 + 8)):
        before = device.clock()
        device.call()
        assert 1000 * (device.clock() - before) == pytest.approx(0.5)
        device.wait()
        assert 1000 * (device.clock() - began) == pytest.approx(expected), call
    device.wait()  # nothing is left
    assert 1000 * (device.clock() - began) == pytest.approx(55)


def test_other_averages_and_other_counts_are_no_median_of_five():
    judge = ch10.exercises.clock.judge
    wrong = {
        "trimmed": lambda *given: sum(timed(*given)[1:4]) / 3,
        "quartiles": lambda *given: (timed(*given)[1] + timed(*given)[3]) / 2,
        "the wait inside": lambda *given: timed(*given, inside=True)[2],
        **{
            f"{count} calls after {warm}": lambda *given, warm=warm, count=count: timed(
                *given, warm=warm, count=count
            )[count // 2]
            for warm in (1, 2, 3)
            for count in (1, 3, 7)
        },
    }
    assert [name for name, answer in wrong.items() if judge(answer).passed] == []
    assert "in seconds" not in judge(lambda *given: timed(*given, warm=3, count=3)[1]).message


class SeveralFiles(Checkpoint):
    """Right: what is kept lies in several files beside `path`, and counts its own epochs."""

    done = 0

    def save(self, model, optimizer, epoch):
        self.done += 1
        kept = {name: value for name, value in model.state_dict().items() if "batches" not in name}
        torch.save(kept, self.path + "_model.pt")
        torch.save(optimizer.state_dict(), self.path + "_optimizer.pt")
        torch.save((torch.get_rng_state(), self.done), self.path + "_rest.pt")

    def resume(self, model, optimizer):
        model.load_state_dict(torch.load(self.path + "_model.pt"), strict=False)
        optimizer.load_state_dict(torch.load(self.path + "_optimizer.pt"))
        draws, done = torch.load(self.path + "_rest.pt")
        torch.set_rng_state(draws)
        return done


class InMemory(Checkpoint):
    """Writes a file, and reads what the class remembers."""

    last = None

    def save(self, model, optimizer, epoch):
        super().save(model, optimizer, epoch)
        InMemory.last = torch.load(self.path)

    def resume(self, model, optimizer):
        torch.save(InMemory.last, self.path)
        return super().resume(model, optimizer)


class DrawsOfTheStart(Checkpoint):
    """Keeps where the random numbers stood when the program began."""

    def __init__(self, path):
        super().__init__(path)
        self.draws = torch.get_rng_state()

    def save(self, model, optimizer, epoch):
        super().save(model, optimizer, epoch)
        torch.save(torch.load(self.path) | {"random": self.draws}, self.path)


class Stands(Checkpoint):
    """Learns nothing any more."""

    def resume(self, model, optimizer):
        epoch = super().resume(model, optimizer)
        optimizer.param_groups[0]["lr"] = 0.0
        return epoch


class StateAlone(Checkpoint):
    """Keeps the momentum and not the rate, which the course of the training has changed."""

    def save(self, model, optimizer, epoch):
        super().save(model, optimizer, epoch)
        kept = torch.load(self.path)
        torch.save(kept | {"optimizer": kept["optimizer"]["state"]}, self.path)

    def resume(self, model, optimizer):
        kept, groups = torch.load(self.path), optimizer.state_dict()["param_groups"]
        kept["optimizer"] = {"state": kept["optimizer"], "param_groups": groups}
        torch.save(kept, self.path)
        return super().resume(model, optimizer)


class Halved(Checkpoint):
    """Keeps the weights in half precision, and the running model's too."""

    def save(self, model, optimizer, epoch):
        model.half()
        super().save(model, optimizer, epoch)
        model.float()


class Nothing(Checkpoint):
    def save(self, model, optimizer, epoch):
        pass


class Wordy(Checkpoint):
    def resume(self, model, optimizer):
        return f"epoch {super().resume(model, optimizer)}"


@pytest.mark.parametrize(
    "answer, words",
    [
        (InMemory, "epoch to go on with"),
        (DrawsOfTheStart, "dropout draws other numbers"),
        (Stands, "learning rate, from that at the cut: got 0.05, expected 0"),
        (StateAlone, "learning rate, from that at the cut: got 0.05, expected 0"),
        (Halved, "weights, from those at the cut"),
        (Nothing, "no file"),
        (Wordy, "a whole number; got the string 'epoch 2'"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_told(answer, words):
    verdict = ch10.exercises.resume.judge(answer)
    assert not verdict.passed and words in verdict.message


def test_a_checkpoint_may_keep_its_things_otherwise():
    class NextEpochKept(Checkpoint):
        def save(self, model, optimizer, epoch):
            state = model.state_dict(), optimizer.state_dict(), torch.get_rng_state(), epoch + 1
            torch.save(state, self.path)

        def resume(self, model, optimizer):
            weights, state, draws, epoch = torch.load(self.path)
            model.load_state_dict(weights)
            optimizer.load_state_dict(state)
            torch.set_rng_state(draws)
            return epoch

    for answer in (NextEpochKept, SeveralFiles):
        verdict = ch10.exercises.resume.judge(answer)
        assert verdict.passed, verdict.message


@pytest.mark.parametrize(
    "answer, right", [(4.605, True), (4.6052, True), (4.6, True), (4.5, False)]
)
def test_the_loss_of_a_guess(answer, right):
    assert ch10.exercises.guessing.judge(answer).passed is right
