"""Exercises of chapter 10, Training."""

from __future__ import annotations

from cnnlab.course.exercises.ch10_answers import (
    _cold,
    _cold_and_queued,
    _fastest,
    _in_seconds,
    _last_only,
    _mean,
    _mean_of_a_queue,
    _never_eval,
    _never_train,
    _never_waits,
    _never_zeroed,
    _per_batch,
    _queued,
    _rate_ignored,
    _rate_late,
    _rate_twice,
    _softmax_twice,
    _without_zero_grad,
    _zeroed_late,
    epoch_with_five_faults,
    my_fit,
    my_timing,
    observe_epoch,
    observe_fit,
    observe_timing,
    run_epoch,
    timing_with_four_faults,
)
from cnnlab.course.exercises.ch10_checkpoint import (
    Checkpoint,
    CheckpointWithFourFaults,
    _OtherDraws,
    _SameEpoch,
    _WithoutBuffers,
    _WithoutMomentum,
    observe_checkpoint,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "guessing",
        "The loss of a guess",
        "recall",
        2,
        4.605,
        tolerance=2e-3,
        mistakes=(
            Mistake(
                0.01, "That is the probability it gives the right class. The loss is -ln of it."
            ),
            Mistake(2.303, "That is ln(10), the loss of a guess among ten classes."),
            Mistake(
                2.0, "With the logarithm to base 10 it is 2. Cross-entropy uses the natural one."
            ),
            Mistake(-4.605, "ln(0.01) is negative; the loss is minus that."),
        ),
        hints=("Each class gets the probability 1/100.", "-ln(1/100) = ln(100)"),
        note="A loss of ln(classes) is a guess. A training that stays there has learned nothing.",
        working="import math; math.log(100)",
    ),
    Exercise(
        "steps",
        "Steps of a run",
        "compute",
        2,
        7820,
        mistakes=(
            Mistake(7800, "The last batch of an epoch is not full, and still is a step: round up."),
            Mistake(391, "That is one epoch."),
            Mistake(
                390, "That is one epoch, and the last batch of it, which is not full, is lost."
            ),
            Mistake(7813, "Each epoch begins a new batch: round up 50,000 / 128 first."),
        ),
        hints=("Steps of an epoch: 50,000 / 128, rounded up.", "391 in each of 20 epochs."),
        note="Steps = epochs x images / batch size, the division rounded up. Rates follow steps.",
        working="391 * 20",
    ),
    Exercise(
        "batch",
        "A larger batch",
        "compute",
        3,
        (1960, 0.4),
        mistakes=(
            Mistake(
                (1960, 0.1),
                "The steps are right. A quarter of them, each as long as before, goes a quarter "
                "of the way: the rate must make up for it.",
            ),
            Mistake(
                (1960, 0.2),
                "The steps are right. The square root of 4 is another rule than the one asked for; "
                "this one takes the rate times 4.",
            ),
            Mistake((1960, 0.025), "The steps are right. Fewer steps must be longer, not shorter."),
            Mistake(
                (1955, 0.4),
                "The rate is right. The steps are not a quarter of 7,820: round up 50,000 / 512 "
                "in each epoch.",
            ),
            Mistake(
                (1954, 0.4),
                "The rate is right. Each epoch begins a new batch: round up 50,000 / 512 first.",
            ),
            Mistake(
                (1940, 0.4),
                "The rate is right. The last batch of an epoch is not full, and still is a step: "
                "round up.",
            ),
            Mistake(
                (1953, 0.4),
                "The rate is right. A step more for what is left over, in each epoch: round up "
                "50,000 / 512.",
            ),
            Mistake((98, 0.4), "The rate is right. That is one epoch."),
            Mistake((0.4, 1960), "The two are right, in the other order: (steps, rate)."),
        ),
        hints=("Steps of an epoch: 50,000 / 512, rounded up.", "The batch is 4 times as large."),
        note="A batch k times as large: k times fewer steps, each with k times the rate. A rule of "
        "thumb: it ends where the rate gets too large for any step.",
        working="98 * 20, 4 * 0.1",
    ),
    Exercise(
        "loop",
        "The loop, written by you",
        "implement",
        8,
        my_fit,
        observe=observe_fit,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                _never_zeroed,
                "The gradients of all earlier steps are still there: backward() adds to them. "
                "optimizer.zero_grad() before each backward().",
            ),
            Mistake(
                _zeroed_late,
                "Nothing is learned: the weights stay as they are. Is there a step() after each "
                "backward(), and no zero_grad() between the two?",
            ),
            Mistake(_rate_ignored, "Every step uses the rate 0.1: set it from `rates`, each time."),
            Mistake(_rate_late, "Each rate comes one step late: set it before the step."),
            Mistake(
                _softmax_twice,
                "`F.cross_entropy` takes the scores as they are: the softmax is inside it.",
            ),
            Mistake(_last_only, "That is the last loss only; return the list of all."),
        ),
        hints=(
            "for (images, labels), rate in zip(batches, rates): and "
            'optimizer.param_groups[0]["lr"] = rate',
            "loss = F.cross_entropy(model(images), labels), then zero_grad, backward, step.",
            "losses.append(loss.item()); return losses at the end.",
        ),
        note="Forward, loss, zero_grad, backward, step. All that is added later is speed and care.",
    ),
    Exercise(
        "epoch",
        "Five faults in one epoch",
        "spot the bug",
        8,
        run_epoch,
        observe=observe_epoch,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                epoch_with_five_faults,
                "All five are still there. The first symptom: memory grows with every step. What "
                "is kept of each step?",
            ),
            Mistake(
                _without_zero_grad,
                "One left, at least: backward() adds to the gradients of the step before.",
            ),
            Mistake(
                _never_eval,
                "One left: the share depends on which images stand together in a batch. Batch norm "
                "must use what it learned: model.eval() before the validation.",
            ),
            Mistake(
                _never_train,
                "One left, at least: the epoch before ended in eval mode, so batch norm and "
                "dropout do not train. model.train() first.",
            ),
            Mistake(_rate_twice, "One left: the rate falls twice as fast as it should."),
            Mistake(
                _per_batch,
                "One left: the share is one of images, not of batches: divide by their number.",
            ),
        ),
        hints=(
            "Memory grows: keep loss.item(), a number, not the tensor with its graph.",
            "The losses jump: zero_grad is missing, and the rate is asked for step 0, 2, 4.",
            "The share: model.train() at the top, model.eval() and torch.no_grad() before the "
            "validation; divide by the number of images.",
        ),
        note="train(), zero_grad, item(), the step's own rate, eval(), a share of the images: six "
        "lines that no error message reminds you of.",
    ),
    Exercise(
        "clock",
        "Time a device that does not wait",
        "spot the bug",
        6,
        my_timing,
        observe=observe_timing,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                timing_with_four_faults,
                "That is the time to hand the work over, not to do it, and in seconds. What comes "
                "back when the device is done?",
            ),
            Mistake(
                _never_waits,
                "That is the time to hand the work over: after each call(), wait() before the "
                "clock is read.",
            ),
            Mistake(
                _cold,
                "The first call is among the five, and it is slow: make one call before, and "
                "wait() for it.",
            ),
            Mistake(
                _cold_and_queued,
                "The first of the five timings holds more than a call: the work that stood in the "
                "queue, and what only a first call needs. One call and a wait() before them.",
            ),
            Mistake(
                _queued,
                "The first timing holds the rest of the call before it: wait() for that one, too.",
            ),
            Mistake(
                _mean,
                "That is the mean: one disturbed call spoils it. The median is asked for: the "
                "middle one of the five, sorted.",
            ),
            Mistake(
                _fastest, "That is the fastest. The median is asked for: the middle one of five."
            ),
            Mistake(
                _mean_of_a_queue,
                "One time for five calls in a row is a mean, and one disturbed call spoils it: "
                "time each of the five, and take the median.",
            ),
            Mistake(_in_seconds, "Those are seconds; milliseconds are asked for."),
        ),
        hints=(
            "Before anything is timed: one call(), then wait().",
            "Around each call: began = clock(), call(), wait(), and clock() again.",
            "sorted(times)[2] is the median of five; a second has 1000 milliseconds.",
        ),
        note="Warm up; wait before the clock is read, each time; median or fastest, not the mean. "
        "With CUDA: torch.cuda.synchronize().",
    ),
    Exercise(
        "resume",
        "A checkpoint with four gaps",
        "spot the bug",
        8,
        Checkpoint,
        observe=observe_checkpoint,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                CheckpointWithFourFaults,
                "All four are still there. The first: epoch 1 was done, and it runs again.",
            ),
            Mistake(
                _SameEpoch,
                "One left: the epoch that was done runs again. Go on with the next one.",
            ),
            Mistake(
                _WithoutBuffers,
                "One left: batch norm's running values are not parameters. model.state_dict() "
                "holds both.",
            ),
            Mistake(
                _WithoutMomentum,
                "One left: the optimizer forgets its momentum and its rate. It has a "
                "state_dict() too.",
            ),
            Mistake(
                _OtherDraws,
                "One left: dropout draws other numbers than it would have. torch.get_rng_state() "
                "tells where the random numbers stand, torch.set_rng_state() puts them back.",
            ),
        ),
        hints=(
            "epoch is the last one that was done: resume gives the one after it.",
            "model.state_dict() in place of the parameters, and a plain load_state_dict.",
            "optimizer.state_dict() and torch.get_rng_state() belong into the file.",
        ),
        note="Weights, buffers, optimizer, random numbers, and where one stood: with one of them "
        "missing a resumed run goes on, and is another run.",
    ),
)
