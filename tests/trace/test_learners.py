"""What learners write: functions, views, shared weights, several inputs, modules of their own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnlab import arithmetic
from cnnlab.trace.run import trace
from tests.trace.test_kept import Around, scripted


class Functional(nn.Module):
    """Everything without a module of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 3, 3, 3))
        self.bias = nn.Parameter(torch.ones(8))

    def forward(self, x):
        x = F.relu(F.conv2d(x, self.weight, self.bias, padding=1))
        a, b = x.chunk(2, dim=1)
        return torch.cat([a + b, F.max_pool2d(b, 3, 1, 1)], 1).mean((2, 3))


def test_functional_calls_count_like_modules():
    table = trace(Functional(), (3, 10, 12))
    assert [row.op for row in table] == ["conv2d", "relu", "add", "max_pool2d", "cat", "mean"]
    assert table.params == 8 * 27 + 8
    assert table.macs == arithmetic.conv_macs(3, 8, 3, (10, 12))
    assert table[3].receptive_field == table[4].receptive_field == (5, 5)
    assert table[2].receptive_field == (3, 3)
    assert table[-1].out_shape == (8,)


def test_a_reused_module_counts_once_for_parameters_and_each_time_for_macs():
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    table = trace(nn.Sequential(conv, nn.ReLU(), conv), (4, 8, 8))
    assert table.params == 144
    assert table.macs == 2 * 144 * 64
    assert table[-1].receptive_field == (5, 5)


def test_data_parallel_is_traced_like_what_it_holds():
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    table, plain = trace(nn.DataParallel(inner), (3, 8, 8)), trace(inner, (3, 8, 8))
    assert [row.path for row in table] == ["module.0", "module.1"]
    assert (table.macs, table.params, table.kept_bytes) == (3888, 120, plain.kept_bytes)


def test_tied_weights_count_once():
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    table = trace(nn.Sequential(a, b), (6,))
    assert table.params == 36 + 6 + 6


class Writes(nn.Module):
    """A 3x3, into which the 7x7 beside it is written; then a 1x1."""

    def __init__(self, how):
        super().__init__()
        self.how, self.last = how, nn.Conv2d(8, 4, 1)
        self.near, self.far = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 7, padding=3)

    def forward(self, x):
        return self.last(self.how(self.near(x), self.far(x)))


def into_a_view(near, far):
    near[:, :4] += far[:, :4]
    return near


def into_a_view_of_a_view(near, far):
    near[:, :6][:, 1:4].add_(far[:, 1:4])
    return near


def into_a_buffer(near, far):
    out = near.new_zeros(near.shape)
    out[:, :4] = near[:, :4]
    out[:, 4:] = far[:, 4:]
    return out


def into_half_of_the_image(near, far):
    near[:, :, :8] += 1
    return near


@pytest.mark.parametrize(
    "how, size, note",
    [
        (into_a_view, (7, 7), ""),
        (into_a_view_of_a_view, (7, 7), ""),
        (into_a_buffer, None, "written into a tensor that was not made of the input"),
        (into_half_of_the_image, None, "written into a part of the image"),
    ],
)
def test_what_is_written_into_a_view_is_seen_behind_it(how, size, note):
    table = trace(Writes(how), (3, 16, 16))
    assert table["last"].receptive_field == size
    assert any(note in row.note for row in table) and bool(note) == any(r.note for r in table)
    if size:
        assert table.box("last", 8, 8) == ((5, 11), (5, 11))


@pytest.mark.parametrize("scale", [1.7, 0.4, 2.5, 2])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [16, 17])
def test_resizing_by_a_factor_sees_what_the_gradient_sees(scale, mode, size):
    class Resized(nn.Module):
        def forward(self, x):
            return F.interpolate(x, scale_factor=scale, mode=mode)

    table = trace(Resized(), (1, size, size))
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    out = Resized()(x)
    for unit in range(out.shape[-1]):
        (grad,) = torch.autograd.grad(out[0, 0, unit, unit], x, retain_graph=True)
        lit = grad[0, 0].nonzero()[:, 0].tolist()
        assert table.box(0, unit, unit)[0] == (lit[0], lit[-1])


class Turned(nn.Module):
    def __init__(self, turn):
        super().__init__()
        self.conv, self.turn = nn.Conv2d(3, 8, 3), turn
        self.weight = nn.Parameter(torch.zeros(5, 8))

    def forward(self, x):
        return self.turn(self.conv(x), self.weight)


@pytest.mark.parametrize(
    "turn, at",
    [
        (lambda x, w: x.mean((2, 3)) @ w.t(), (None, None)),
        (lambda x, w: x.mean((2, 3)) @ w.T, (None, None)),
        (lambda x, w: x.movedim(1, -1) * 2, (1, 2)),
        (lambda x, w: x.movedim((2, 3), (1, 0)) * 2, (1, 0)),
        (lambda x, w: x.mT * 2, (3, 2)),
        (lambda x, w: x.swapdims(1, 2) * 2, (1, 3)),
        (lambda x, w: x - x.mean(), (2, 3)),
        (lambda x, w: F.channel_shuffle(x, 2) * 2, (2, 3)),
    ],
)
def test_turned_tensors_keep_their_axes(turn, at):
    table = trace(Turned(turn), (3, 8, 8))
    assert table[-1].at == at and not table.note and not table.unknown


def test_transposed_convolution_counts_each_input_value_once_per_tap():
    """Feeding ones through ones makes the output's sum count the products."""
    layer = nn.ConvTranspose2d(2, 3, 4, stride=2, bias=False)
    table = trace(layer, (2, 5, 7))
    with torch.no_grad():
        layer.weight.fill_(1)
        assert table.macs == layer(torch.ones(1, 2, 5, 7)).sum().item()
    assert table[0].jump == (0.5, 0.5)


def test_linear_on_channels_last_keeps_the_image():
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 6, bias=False)

        def forward(self, x):
            return self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    table = trace(nn.Sequential(ChannelsLast(), nn.Conv2d(6, 1, 3)), (4, 9, 9))
    assert table["0"].macs == 4 * 6 * 81
    assert table[-1].receptive_field == (3, 3)


def test_bias_norm_activation_and_pooling_are_not_macs():
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)
    table = trace(nn.Sequential(*layers), (1, 4, 4))
    assert [row.macs for row in table] == [2 * 9 * 16, 0, 0, 0]
    assert [row.other_ops for row in table] == [32, 64, 32, 32]


def test_in_place_and_views_write_no_new_values():
    table = trace(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.ReLU()), (2, 3, 3))
    assert [row.activations for row in table] == [0, 0, 18]
    assert [row.op for row in table] == ["relu", "flatten", "relu"]


def test_squeeze_and_excite_is_context_not_size():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True).sigmoid()

    table = trace(nn.Sequential(nn.Conv2d(3, 3, 3), Gate()), (3, 12, 12))
    assert table[-1].receptive_field == (3, 3) and table[-1].context
    assert not table[0].context


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.LayerNorm([3, 8, 8])]
)
def test_normalization_over_space_is_context(norm):
    assert trace(norm, (3, 8, 8))[-1].context


def test_global_pool_and_flatten_see_the_whole_image():
    for head in (nn.AdaptiveAvgPool2d(1), nn.Flatten()):
        table = trace(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), head), (1, 10, 10))
        assert table[-1].share_seen == 1
        assert table.box(1, 0, 0) == ((0, 9), (0, 9))


def test_circular_padding_sees_the_other_side():
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    table = trace(layer, (1, 6, 6))
    assert table[-1].receptive_field == (3, 3)
    assert table.box(len(table) - 1, 0, 3) == ((0, 5), (2, 4))


def test_several_and_nested_inputs():
    class Two(nn.Module):
        def forward(self, pair, extra):
            return torch.cat(pair, 1) + extra

    table = trace(Two(), [(2, 5, 5), (3, 5, 5)], (5, 5, 5))
    assert table[-1].out_shape == (5, 5, 5)
    assert table.inputs == ((2, 5, 5), (3, 5, 5), (5, 5, 5))


def test_example_tensors_bring_their_type():
    table = trace(nn.Embedding(10, 4), torch.zeros(2, 7, dtype=torch.int64))
    assert table[-1].out_shape == (7, 4)
    assert table.params == 40


def test_a_forward_that_needs_values_is_run_for_real_and_says_so():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, bias=False)

        def forward(self, x):
            return self.conv(x) if x.sum().item() == 0 else x

    table = trace(Picky(), (1, 5, 5))
    assert table.macs == 18 * 9
    assert table.note.startswith("run for real, because shapes alone were not enough")
    assert "run for real" in str(table)


def test_a_scripted_function_is_seen():
    table = trace(Around(scripted), (2, 4, 4))
    assert [row.op for row in table] == ["conv2d", "relu", "add", "conv2d"]
    assert table[-1].receptive_field == (3, 3)


class Inverse(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


def test_an_operation_without_a_rule_is_named_and_not_guessed():
    table = trace(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), Inverse()), (1, 4, 4))
    assert table.unknown and table.unknown[0].path == "1"
    assert "no rule for" in table.unknown[0].note and "inv" in table.unknown[0].note
    assert table[-1].receptive_field is None
    assert "+ unknown" in str(table)
    name = table.unknown[0].op

    def rule(call):
        call.macs = 123

    assert trace(Inverse(), (1, 4, 4), rules={name: rule}).macs == 123
