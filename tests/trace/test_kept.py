"""What autograd keeps for the backward pass: to the byte what a real pass keeps."""

import copy
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cnnlab.trace.run import trace
from tests.trace.real import kept_for_real


class Swish(torch.autograd.Function):
    """Keeps its input only; autograd left alone would keep two buffers."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


@torch.jit.script
def scripted(x):
    return torch.relu(x) + 1


class Around(nn.Module):
    """A convolution, and then what a function of a learner does with its map."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.tail, self.then = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1), then

    def forward(self, x):
        return self.tail(self.then(self.conv(x)))


class Moody(nn.Module):
    """A module of a learner's that has no parts and asks for the mode."""

    def forward(self, x):
        return x.sigmoid() if self.training else x


def without_gradient(x):
    with torch.no_grad():
        return x.sigmoid()


HARD_TO_COUNT = {
    "a custom function": Swish.apply,
    "no_grad": without_gradient,
    "asks for its own gradient": lambda x: x.detach().requires_grad_().sigmoid() + x,
    "detached": lambda x: x.detach().sigmoid() + x,
    "checkpointed": lambda x: checkpoint(torch.sigmoid, x, use_reentrant=False),
    "TorchScript": scripted,
    "in place on a part": lambda x: (x[:, :1].sigmoid_(), x.sigmoid())[1],
    "asks for the mode": Moody(),
    "a map turned": lambda x: x.transpose(2, 3).sigmoid(),
    "eval dropout": lambda x: F.dropout(x, 0.5, training=False).sigmoid(),
    "eval batch norm": lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2)),
    "weights computed": lambda x: F.conv2d(x, torch.ones(2, 2, 1, 1) * x.mean()),
    "a Fourier transform": lambda x: torch.fft.fft(x).real,
    "an operation without a rule": torch.linalg.inv,
}


@pytest.mark.parametrize("then", HARD_TO_COUNT.values(), ids=HARD_TO_COUNT)
def test_kept_bytes_where_rules_could_be_wrong(then):
    """To the byte what a real pass keeps; statistics of batch norm do not matter here."""
    model = Around(then)
    counted = trace(model, (2, 4, 4)).kept_bytes
    for module in model.modules():  # as the table counts: parts train, the model itself does not
        module.training = not module._modules
    assert counted == kept_for_real(model, torch.rand(1, 2, 4, 4))


def test_what_is_kept_after_a_custom_function_stands_in_the_right_rows():
    """What autograd is asked to keep are calls of ours, which do not count as the model's."""
    table = trace(Around(lambda x: Swish.apply(x).sigmoid().exp() + 1), (2, 4, 4))
    kept = [(row.op, row.kept_bytes // 128) for row in table]  # in maps of 2 x 4 x 4 floats
    # The image; what Swish gets; each function's own output, of which it makes its gradient; what
    # the last convolution gets.
    assert kept[:4] == [("conv2d", 1), ("sigmoid", 0), ("mul", 1), ("sigmoid", 1)]
    assert kept[4:] == [("exp", 1), ("add", 0), ("conv2d", 1)]


def test_kept_bytes_do_not_depend_on_the_mode_around_a_trace():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sigmoid())
    expected = kept_for_real(model, torch.rand(1, 2, 4, 4))
    for around in (torch.inference_mode(), torch.no_grad(), torch.enable_grad()):
        with around:
            for given in ((2, 4, 4), torch.rand(1, 2, 4, 4)):
                assert trace(model, given).kept_bytes == expected > 0


def test_a_branch_that_leads_nowhere_keeps_nothing():
    def then(x):
        x.sigmoid().exp().sum()
        return x

    table = trace(Around(then), (2, 4, 4))  # both convolutions keep what they read
    assert table.kept_bytes == 2 * 4 * 32 == kept_for_real(Around(then), torch.rand(1, 2, 4, 4))
    assert [row.kept_bytes for row in table] == [128, 0, 0, 0, 128]


def test_what_fails_on_shapes_with_autograd_is_run_for_real():
    def then(x):  # stft refuses a window of another device before a trace can move it
        return (
            x + torch.stft(x.flatten(1), 8, window=torch.ones(8), return_complex=True).abs().sum()
        )

    model = Around(then)
    assert trace(model, (2, 8, 8)).kept_bytes == kept_for_real(model, torch.rand(1, 2, 8, 8))
    table = trace(model.to("meta"), (2, 8, 8))
    assert len(table.unknown_kept) == len(table) and table.totals()["kept for backward"] == (
        "0 B + unknown"
    )


@pytest.mark.parametrize("needs_values", [False, True])
def test_nothing_of_a_pass_outlives_it(needs_values):
    made = []

    def then(x):
        assert not needs_values or x.sum().item() == x.sum().item()
        y = x.sigmoid()
        made.append(weakref.ref(y))
        return y

    table = trace(Around(then), (2, 4, 4))
    assert table.kept_bytes and bool(table.note) == needs_values
    assert len(made) == 2 and [ref() for ref in made] == [None, None]


class Attends(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.need_weights, self.conv = need_weights, nn.Conv2d(3, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


def stack_with(*middle):
    return nn.Sequential(nn.Conv2d(3, 8, 3), *middle, nn.Conv2d(8, 4, 3))


@pytest.mark.parametrize(
    "model, dtype",
    [
        (stack_with(nn.ReflectionPad2d(2), nn.Sigmoid()), torch.float32),
        (stack_with(nn.ReplicationPad2d(2), nn.Sigmoid()), torch.float32),
        (stack_with(nn.ZeroPad2d(2), nn.Sigmoid()), torch.float32),
        (Attends(need_weights=False), torch.float32),
        (Attends(need_weights=True), torch.float32),
        *(
            (stack_with(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)), dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.float64)
        ),
    ],
)
def test_kept_bytes_of_other_paddings_attention_and_number_types(model, dtype):
    model = copy.deepcopy(model).to(dtype).train()
    two, three = (kept_for_real(model, torch.rand(n, 3, 16, 16).to(dtype)) for n in (2, 3))
    per_image = three - two
    table = trace(model, (3, 16, 16), training=True)
    assert not table.note and table.kept_bytes == per_image + two - 2 * per_image


class Alike(nn.Module):
    """The same shapes again and again; what is kept of them, and what they see, differs."""

    def __init__(self, frozen, gradient):
        super().__init__()
        self.a, self.b = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.b.requires_grad_(not frozen)
        self.gradient = gradient

    def forward(self, x):
        y = self.a(self.b(x).relu()).relu()
        with torch.set_grad_enabled(self.gradient):
            z = self.a(self.b(y).relu()).relu()
        return self.b(self.a(y) + z)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_like_operations_are_counted_where_they_stand(frozen, gradient):
    model = Alike(frozen, gradient)
    table = trace(model, (2, 16, 16))
    assert table.kept_bytes == kept_for_real(model, torch.rand(1, 2, 16, 16))
    sizes = [row.receptive_field[0] for row in table]
    assert sizes == [3, 3, 5, 5, 7, 7, 9, 9, 7, 9, 11]
    assert [row.params for row in table if row.op == "conv2d"] == [38, 38, 0, 0, 0, 0]
    assert table[-1].inputs == (9,) and table[9].inputs == (8, 7)
