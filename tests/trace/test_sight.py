"""What units see, followed through random graphs, against what really reaches them.

All steps here are linear with positive weights, so feeding one bright pixel at a time gives the
whole gradient in one forward pass.
"""

import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cnnlab.trace.sight import Remap, Resize, Sight, Slide, Spread

kernels, strides = st.integers(1, 4), st.integers(1, 3)
paddings, dilations = st.integers(0, 3), st.integers(1, 3)

steps = st.one_of(
    st.tuples(st.just("conv"), kernels, strides, paddings, dilations),
    st.tuples(st.just("transposed"), kernels, strides, paddings, dilations),
    st.tuples(st.just("pool"), kernels, strides, st.booleans()),
    st.tuples(st.just("residual"), st.sampled_from([1, 3, 5])),
    st.tuples(st.just("adaptive"), st.integers(1, 30)),
    st.tuples(st.just("nearest"), st.integers(1, 30)),
    st.tuples(st.just("linear"), st.integers(1, 30), st.booleans()),
    st.tuples(st.sampled_from(["circular", "reflect", "replicate"]), st.integers(1, 3)),
)


def ones(kernel):
    return torch.ones(1, 1, kernel, dtype=torch.float64)


def apply(step, out, sight):
    """The same step on a real signal and on a Sight."""
    kind, *numbers = step
    size = out.shape[-1]
    if kind == "conv":
        kernel, stride, padding, dilation = numbers
        out = F.conv1d(out, ones(kernel), None, stride, padding, dilation)
        return out, sight.slide(Slide(kernel, stride, padding, dilation), out.shape[-1])
    if kind == "transposed":
        kernel, stride, padding, dilation = numbers
        out = F.conv_transpose1d(out, ones(kernel), None, stride, padding, dilation=dilation)
        return out, sight.spread(Spread(kernel, stride, padding, dilation), out.shape[-1])
    if kind == "pool":
        kernel, stride, ceil_mode = numbers
        out = F.avg_pool1d(out, kernel, stride, kernel // 2, ceil_mode)
        return out, sight.slide(Slide(kernel, stride, kernel // 2), out.shape[-1])
    if kind == "residual":
        (kernel,) = numbers
        branch = sight.slide(Slide(kernel, 1, kernel // 2), size)
        return out + F.conv1d(out, ones(kernel), padding=kernel // 2), Sight.join([sight, branch])
    if kind == "adaptive":
        out = F.adaptive_avg_pool1d(out, numbers[0])
        return out, sight.resize(Resize(size, numbers[0], "adaptive"))
    if kind == "nearest":
        # As images are: in float64 PyTorch rounds another way, 22 of 26 units, for example.
        out = F.interpolate(out.float(), size=numbers[0], mode="nearest").double()
        return out, sight.resize(Resize(size, numbers[0], "nearest"))
    if kind == "linear":
        to, corners = numbers
        out = F.interpolate(out, size=to, mode="linear", align_corners=corners)
        return out, sight.resize(Resize(size, to, "linear", corners))
    (padding,) = numbers
    out = F.pad(out, (padding, padding), mode=kind)
    reads = Remap(padding, size, "replic" if kind == "replicate" else kind)
    return out, sight.slide(Slide(padding=padding), out.shape[-1], reads=reads)


def one_pixel_each(size):
    """A batch in which image j is zero but for pixel j: the output is the gradient, all at once."""
    return torch.eye(size, dtype=torch.float64)[:, None]


def supports(out):
    """First and last pixel that reaches each unit; None for a unit that sees nothing."""
    for column in out[:, 0].T:
        touched = (column.abs() > 1e-12).nonzero().flatten().tolist()
        yield (touched[0], touched[-1]) if touched else None


@settings(max_examples=300)
@example(26, [("nearest", 22)])
@given(st.integers(8, 30), st.lists(steps, min_size=1, max_size=4))
def test_seen_is_what_reaches_every_unit(size, chain):
    out, sight = one_pixel_each(size), Sight.of_image(size)
    for step in chain:
        try:
            out, sight = apply(step, out, sight)
        except RuntimeError:  # PyTorch refuses the geometry
            assume(False)
        assume(0 < out.shape[-1] <= 120)
    assert sight.units == out.shape[-1]
    first, last = (edge.tolist() for edge in sight.seen())
    seen = [(a, b) if a <= b else None for a, b in zip(first, last)]
    assert seen == list(supports(out))


upsampling = st.lists(
    st.one_of(
        st.tuples(st.just("conv"), st.sampled_from([1, 3]), st.just(1), st.just(0), dilations),
        st.tuples(st.just("transposed"), kernels, st.just(2), st.just(0), st.just(1)),
    ),
    min_size=1,
    max_size=3,
)


@example([("transposed", 1, 2, 0, 1), ("transposed", 2, 2, 0, 1), ("conv", 3, 1, 0, 3)])
@given(upsampling)
def test_window_is_the_largest_support_among_phases(chain):
    """After transposed convolutions units of different phase differ; inside, no border matters."""
    size = 40
    out, sight = one_pixel_each(size), Sight.of_image(size)
    for step in chain:
        out, sight = apply(step, out, sight)
    inner = [s for s in supports(out) if s and s[0] > 0 and s[1] < size - 1]
    assume(len(inner) >= 8)
    assert sight.window.size == max(last - first + 1 for first, last in inner)
    strides = [step[2] for step in chain if step[0] == "transposed"]
    assert sight.window.jump * 2 ** len(strides) == 1


def test_cutting_the_window_at_the_border_is_not_what_is_seen():
    """A corner unit after a padded strided layer: one tap, and all it would see, is padding."""
    sight = Sight.of_image(32).slide(Slide(3, 1, 0), 30).slide(Slide(3, 2, 1), 15)
    first, last = sight.window.box(0)
    cut = max(first, 0), last
    assert cut == (0, 3)
    assert tuple(int(edge[0]) for edge in sight.seen()) == (0, 3)
    deeper = sight.slide(Slide(3, 2, 1), 8)
    first, last = deeper.window.box(0)
    assert (first, last) == (-3, 5) and int(deeper.seen()[1][0]) == 5
    far = deeper.slide(Slide(5, 1, 4, 2), 8)
    assert far.window.box(0)[0] < 0 < int(far.seen()[1][0])


def test_branches_that_disagree_have_no_window():
    image = Sight.of_image(16)
    fast = image.slide(Slide(1, 2), 8)
    slow = image.slide(Slide(1, 1), 16).slide(Slide(9), 8)
    assert Sight.join([fast, slow]).window is None
    assert Sight.join([fast, fast]) is fast


def test_deep_networks_do_not_overflow_pythons_stack():
    sight = Sight.of_image(8)
    for _ in range(3000):
        sight = sight.slide(Slide(3, 1, 1), 8)
    assert sight.window.size == 6001
    assert [edge[0] for edge in sight.seen()] == [0, 7]
