"""The trace against authorities: torchvision's metadata, real passes, gradients, PyTorch itself."""

import copy
import gc
import re
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from cnnlab import arithmetic
from cnnlab._torchvision import import_torchvision
from cnnlab.models import MODELS, build
from cnnlab.trace.run import TraceError, trace
from tests.threads import overlap
from tests.trace.real import kept_for_real

import_torchvision()
from torchvision import models as published  # noqa: E402  (only importable after the line above)

# One network per family of operations; sizes as torchvision published them.
AUTHORITIES = """alexnet vgg16 vgg11_bn googlenet inception_v3 resnet50 resnext50_32x4d densenet121
mobilenet_v2 mobilenet_v3_small mnasnet0_5 shufflenet_v2_x0_5 squeezenet1_0 efficientnet_b0
regnet_y_400mf convnext_tiny vit_b_32 swin_t maxvit_t""".split()


def on_meta(make, **options):
    with torch.device("meta"):
        return make(**options)


def torchvisions(name):
    try:
        return on_meta(lambda: published.get_model(name))
    except NotImplementedError:  # regnet computes its widths with tensors
        return published.get_model(name)


@pytest.mark.parametrize("name", AUTHORITIES)
def test_params_and_macs_are_torchvisions_to_every_published_digit(name):
    weights = published.get_model_weights(name).DEFAULT
    model = torchvisions(name)
    size = weights.transforms().crop_size[0]
    table = trace(model, (3, size, size))
    params = table.params
    if name == "inception_v3":  # its published count includes the auxiliary head; googlenet's not
        params += sum(table.unused.values())
    assert params == weights.meta["num_params"]
    assert round(table.macs / 1e9, 3) == weights.meta["_ops"]
    assert not table.unknown


# Sizes that keep a real pass cheap; width and height differ where they may. Others: 3x32x32.
SHAPES = {
    "lenet5": (1, 28, 28),
    "alexnet": (3, 67, 99),
    "vgg_small": (1, 28, 28),
    "unet": (1, 92, 100),
    # Small ones, or a real pass of the widest would take gigabytes.
    **dict.fromkeys((name for name in MODELS if name.startswith("densenet_bc")), (3, 16, 16)),
    **dict.fromkeys(("densenet100_k12", "densenet100_k24"), (3, 16, 16)),
    **dict.fromkeys(
        """googlenet resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d densenet121
        densenet169 densenet201 densenet161 mobilenet_v1 mobilenet_v2 convnext_tiny""".split(),
        (3, 64, 96),
    ),
}
OPTIONS = {
    "unet": {"depth": 3, "width": 8},
    "googlenet torchvision": {"form": "torchvision"},
}


def ours(name):
    """The model on the meta device, in eval mode, and the shape of its image."""
    model = on_meta(build, name=name, **OPTIONS.get(name, {})).eval()
    return model, SHAPES.get(name, (3, 32, 32))


@pytest.mark.parametrize("name", MODELS)
def test_kept_bytes_are_what_a_real_pass_keeps(name):
    """To the byte. Statistics of batch norm do not grow with the batch: two batches tell."""
    model, shape = ours(name)
    model.train().to_empty(device="cpu")
    two, three = (kept_for_real(model, torch.rand(n, *shape)) for n in (2, 3))
    per_image = three - two
    fixed = two - 2 * per_image
    assert trace(model, shape, training=True).kept_bytes == per_image + fixed


@pytest.mark.parametrize("name", MODELS)
def test_arithmetic_predicts_every_convolution(name):
    """Formulas, trace and PyTorch's own forward agree on sizes, parameters and MACs."""
    model, shape = ours(name)
    table = trace(model, shape)
    real = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda m, x, y, path=path: real.update({path: (x[0], y)}))
    model(torch.empty(1, *shape, device="meta"))
    convolutions = [(p, m) for p, m in model.named_modules() if type(m) is nn.Conv2d]
    assert convolutions
    for path, conv in convolutions:
        x, y = real[path]
        row = table[path]
        assert row.out_shape == tuple(y.shape[1:])
        assert row.out_shape[1:] == tuple(
            arithmetic.output_size(n, k, s, p, d)
            for n, k, s, p, d in zip(
                x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation
            )
        )
        geometry = conv.in_channels, conv.out_channels, conv.kernel_size
        assert row.params == arithmetic.conv_params(
            *geometry, groups=conv.groups, bias=conv.bias is not None
        )
        assert row.macs == arithmetic.conv_macs(*geometry, tuple(y.shape[2:]), conv.groups)


# Long thin images: along their width the units in the middle see all they can, at little cost.
PROVED = {
    "alexnet": ((3, 67, 450), ["features.2", "features.12"]),
    "vgg16": ((3, 32, 480), ["features.9", "features.30"]),
    "googlenet": ((3, 48, 1500), ["inception3b", "inception5b"]),
    "googlenet torchvision": ((3, 48, 1000), ["inception3b", "inception5b"]),
    "resnet18": ((3, 32, 1100), ["layer2", "layer4"]),
    "resnet50": ((3, 32, 1100), ["layer2", "layer4"]),
    "resnext50_32x4d": ((3, 32, 1100), ["layer4"]),
    "densenet121": ((3, 32, 900), ["features.denseblock1", "features.denseblock2"]),
    "mobilenet_v2": ((3, 32, 1200), ["features.18"]),
    "unet": ((1, 92, 300), ["down.2", "up.1", "join.2"]),
}


@pytest.mark.parametrize("name", PROVED)
def test_receptive_fields_are_the_gradients_support(name):
    shape, layers = PROVED[name]
    model = build(name.split()[0], **OPTIONS.get(name, {}))
    if hasattr(model, "classifier"):
        model.classifier = nn.Identity()  # 120 million weights, of which no map depends on any
    table = trace(model, shape)
    check = table.check(layers)
    assert list(check) == layers
    for path, (box, proved) in check.items():
        assert box == proved
        first, last = proved[1]
        assert 0 < first and last < shape[2] - 1, "the unit is not an interior one"
        window = table[path].windows[1]
        if name == "unet":  # after transposed convolutions units of some phases see less
            assert last - first + 1 <= window.size
        else:
            assert (first, last) == window.box(table[path].out_shape[2] // 2)


@pytest.mark.parametrize(
    "name, options, layer, shape",
    [
        ("resnet18", {}, "layer3", (3, 96, 40)),
        ("googlenet", {}, "inception4a", (3, 64, 48)),
        ("mobilenet_v2", {}, "features.10", (3, 80, 40)),
        ("densenet_bc100_k12", {}, "features.denseblock2", (3, 40, 16)),
        ("unet", OPTIONS["unet"], "join.2", (1, 92, 92)),
    ],
)
def test_receptive_fields_are_where_a_nan_arrives(name, options, layer, shape):
    """A second proof, without gradients: image i has its row i spoiled, and nothing hides that."""
    model = build(name, **options).eval()
    sight = trace(model, shape)[layer].sights[0]
    images = torch.rand(shape[1], *shape)
    for row in range(shape[1]):
        images[row, :, row] = torch.nan
    kept = {}
    model.get_submodule(layer).register_forward_hook(lambda m, x, y: kept.update(y=y))
    with torch.inference_mode():
        model(images)
    spoiled = kept["y"].isnan().any(1).any(2)  # (spoiled row, unit)
    first, last = (edge.tolist() for edge in sight.seen())
    rows = [column.nonzero().flatten().tolist() for column in spoiled.T]
    assert [(hit[0], hit[-1]) for hit in rows] == list(zip(first, last))


def test_check_can_fail():
    table = trace(build("lenet5"), (1, 28, 28))
    found = table.check()
    assert len(found) >= 4 and all(box == proved for box, proved in found.values())
    other = trace(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), (1, 28, 28))
    other.model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5, padding=1))
    # By hand: two 3x3 see 5; the 5x5 that took the second's place sees 7, its border a pixel out.
    assert other.check(["1"]) == {"1": (((12, 16), (12, 16)), ((11, 17), (11, 17)))}


@pytest.mark.parametrize(
    "name, options, layer, size",
    [
        ("resnet18", {}, "layer4", 435),  # sees more than
        ("resnet50", {}, "layer4", 427),  # the deeper one
        ("vgg16", {}, "features.30", 212),  # Araujo et al. 2019
        ("googlenet", {}, "inception5b", 715),  # 5x5 as in the paper
        ("googlenet", {"form": "torchvision"}, "inception5b", 379),  # 3x3 in their place
    ],
)
def test_receptive_fields_by_the_recurrence(name, options, layer, size):
    """The sizes that an independent recurrence over kernels and strides gives (papers)."""
    table = trace(on_meta(build, name=name, **options), (3, 224, 224))
    assert table[layer].receptive_field == (size, size)


# ------------------------------------------------------------------- random networks


class Meeting(nn.Module):
    """Branches of one map that meet again, side by side or summed."""

    def __init__(self, how, branches):
        super().__init__()
        self.how, self.branches = how, nn.ModuleList(branches)

    def forward(self, x):
        outputs = [branch(x) for branch in self.branches]
        return torch.cat(outputs, 1) if self.how == "cat" else sum(outputs[1:], outputs[0])


def two(draw, values):
    """One for the height, one for the width."""
    return draw(st.tuples(values, values))


def random_conv(draw, channels, out):
    kernel = two(draw, st.integers(1, 4))
    return nn.Conv2d(
        channels,
        out,
        kernel,
        stride=two(draw, st.integers(1, 3)),
        padding=tuple(draw(st.integers(0, k - 1)) for k in kernel),
        dilation=two(draw, st.integers(1, 2)),
        groups=draw(st.sampled_from([1, 2])),
        bias=draw(st.booleans()),
    )


def random_pool(draw):
    kernel = two(draw, st.integers(1, 4))
    return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(
        kernel,
        stride=two(draw, st.integers(1, 3)),
        padding=tuple(draw(st.integers(0, k // 2)) for k in kernel),
        ceil_mode=draw(st.booleans()),
    )


def random_branch(draw, channels, out, stride):
    """Whatever its kernels, its map has the size that the stride alone gives."""
    layers = [nn.MaxPool2d(3, stride=1, padding=1)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        kernel, dilation = two(draw, st.sampled_from([1, 3, 5])), two(draw, st.integers(1, 2))
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation))
        layers += [nn.Conv2d(channels, out, kernel, stride, padding, dilation), nn.ReLU()]
        channels, stride = out, 1
    return nn.Sequential(*layers)


@st.composite
def random_networks(draw):
    layers, channels = [], 2
    kinds = st.sampled_from(["conv", "pool", "cat", "add"])
    for kind in draw(st.lists(kinds, min_size=1, max_size=4)):
        out = draw(st.sampled_from([2, 4]))
        if kind == "conv":
            layers += [random_conv(draw, channels, out), nn.ReLU(inplace=draw(st.booleans()))]
            channels = out
        elif kind == "pool":
            layers.append(random_pool(draw))
        else:
            stride = two(draw, st.integers(1, 2))
            branches = [random_branch(draw, channels, out, stride) for _ in range(2)]
            if stride == (1, 1) and out == channels and draw(st.booleans()):
                branches[0] = nn.Identity()
            layers.append(Meeting(kind, branches))
            channels = 2 * out if kind == "cat" else out
    return nn.Sequential(*layers)


def ones_and_means(model):
    """All weights 1, means for maxima: no two paths cancel, no ReLU closes, no pixel hides."""
    model = copy.deepcopy(model).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    for parent in list(model.modules()):
        for name, pool in parent.named_children():
            if isinstance(pool, nn.MaxPool2d):
                mean = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
                setattr(parent, name, mean)
    return model


def gradients_support(model, shape, unit):
    """((top, bottom), (left, right)) of the pixels with a gradient; None if there is none."""
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image)[0, :, unit[0], unit[1]].sum(), image)
    pixels = gradient[0].sum(0).nonzero()
    return tuple((int(axis.min()), int(axis.max())) for axis in pixels.T) if len(pixels) else None


@settings(max_examples=60)
@given(random_networks(), st.integers(5, 18), st.integers(5, 18), st.data())
def test_random_networks(model, height, width, data):
    """Shapes and MACs are PyTorch's, boxes the gradient's; what PyTorch refuses is refused."""
    shape = (2, height, width)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            real = model(torch.zeros(1, *shape))
    except RuntimeError:
        with pytest.raises(TraceError):
            trace(model, shape)
        return
    table = trace(model, shape)
    assert table.params == sum(parameter.numel() for parameter in model.parameters())
    assert table.macs == counter.get_total_flops() // 2
    assert table[-1].out_shape == tuple(real.shape[1:])
    last_unit = tuple(n - 1 for n in real.shape[2:])
    drawn = data.draw(st.tuples(*(st.integers(0, last) for last in last_unit)), "unit")
    positive = ones_and_means(model)
    for unit in {(0, 0), drawn, last_unit}:
        box = table.box(len(table) - 1, *unit)
        nothing = any(first > last for first, last in box)
        assert gradients_support(positive, shape, unit) == (None if nothing else box)


activations = st.sampled_from(
    [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.GELU, nn.Sigmoid]
    + [nn.Tanh, nn.Identity, nn.BatchNorm2d, nn.Dropout, nn.LocalResponseNorm]
)


class Joined(nn.Module):
    """Two branches of one map, joined in any of the ways that networks know."""

    def __init__(self, how, first, second):
        super().__init__()
        self.how, self.first, self.second = how, first, second

    def forward(self, x):
        a, b = self.first(x), self.second(x)
        if self.how == "cat":
            return torch.cat([a, b], 1)[:, :4]
        return {"add": a + b, "mul": a * b, "div": a / b, "self": a * a, "gate": a * 0.5}[self.how]


@st.composite
def random_trained_networks(draw):
    """Whatever may keep something: activations in place or not, norms, dropout, frozen parts."""

    def activation():
        kind = draw(activations)
        if kind is nn.BatchNorm2d or kind is nn.LocalResponseNorm:
            return kind(4)
        if kind is nn.Dropout:
            return kind(draw(st.sampled_from([0.0, 0.5])), inplace=draw(st.booleans()))
        in_place = "inplace" in kind.__init__.__code__.co_varnames and draw(st.booleans())
        return kind(inplace=True) if in_place else kind()

    def part():
        kind = draw(st.sampled_from(["conv", "pool", "pair", "pair"]))
        if kind == "conv":
            return nn.Conv2d(4, 4, 3, padding=1, bias=draw(st.booleans()))
        if kind == "pool":
            return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, 1, 1)
        return nn.Sequential(nn.Conv2d(4, 4, 1), activation(), activation())

    layers = []
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["none", "cat", "add", "mul", "div", "self", "gate"]))
        layers.append(part() if how == "none" else Joined(how, part(), part()))
        layers.append(activation())
    head = draw(st.sampled_from([1, 2]))
    linear = nn.Linear(4 * head * head, 3, bias=draw(st.booleans()))
    layers += [nn.AdaptiveAvgPool2d(head), nn.Flatten(), linear]
    for layer in layers:
        layer.requires_grad_(draw(st.integers(0, 3)) > 0)
    return nn.Sequential(*layers)


@settings(max_examples=60)
@given(random_trained_networks())
def test_random_networks_keep_what_a_real_pass_keeps(model):
    model.train()
    expected = kept_for_real(model, torch.rand(1, 4, 6, 5))
    assert trace(model, (4, 6, 5), training=True).kept_bytes == expected


# ------------------------------------------------------------------- what learners write


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
    "an operation without a rule": lambda x: torch.fft.fft(x).real,
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


def test_a_scripted_function_is_seen():
    table = trace(Around(scripted), (2, 4, 4))
    assert [row.op for row in table] == ["conv2d", "relu", "add", "conv2d"]
    assert table[-1].receptive_field == (3, 3)


class Fourier(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).real


def test_an_operation_without_a_rule_is_named_and_not_guessed():
    table = trace(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), Fourier()), (1, 4, 4))
    assert table.unknown and table.unknown[0].path == "1"
    assert "no rule for" in table.unknown[0].note and "fft" in table.unknown[0].note
    assert table[-1].receptive_field is None
    assert "+ unknown" in str(table)
    name = table.unknown[0].op

    def rule(call):
        call.macs = 123

    assert trace(Fourier(), (1, 4, 4), rules={name: rule}).macs == 123


# ------------------------------------------------------------------- the caller's model


def state_of(model):
    """Everything that must not change."""
    return (
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        {k: v.clone() for k, v in model.state_dict().items()},
        [id(t) for t in (*model.parameters(), *model.buffers())],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        torch.get_rng_state(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Fails(nn.Module):
    def forward(self, x):
        raise KeyError("a learner's slip")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_about_the_callers_model_changes(fails, training):
    last = Fails() if fails else nn.Dropout()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), last).train()
    model[1].eval()  # a mixed mode must come back mixed
    model(torch.rand(2, 3, 8, 8)).sum().backward() if not fails else None
    model.register_forward_hook(lambda *_: None)
    before = copy.deepcopy(state_of(model))
    if fails:
        with pytest.raises(TraceError):
            trace(model, (3, 8, 8), training=training)
    else:
        assert trace(model, (3, 8, 8), training=training).kept_bytes > 0
    assert same(before, state_of(model))
    from torch.nn.modules import module

    assert not module._global_forward_hooks and not module._global_forward_pre_hooks


class Remembers(nn.Module):
    """Writes to itself in forward, as learners' and libraries' modules do."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.features = x * self.weight[:, None, None]
        self.mean = 0.9 * self.mean + self.features.mean((0, 2, 3))
        self.total.add_(1)
        self.weight.data.mul_(2)
        return self.features


def test_a_model_is_gone_with_its_table_without_waiting_for_the_garbage_collector():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    gone = weakref.ref(model)
    gc.disable()
    try:
        table = trace(model, (1, 8, 8))
        assert table.kept_bytes and table.peak_live_bytes and str(table)
        assert gone() is not None
        del model, table
        assert gone() is None
    finally:
        gc.enable()


def test_what_forward_stores_is_put_back():
    model = Remembers()
    before = copy.deepcopy(state_of(model))
    assert trace(model, (3, 4, 4)).kept_bytes > 0
    assert same(before, state_of(model))
    assert model.calls == 0 and not hasattr(model, "features")


class Weighs(nn.Module):
    """Needs values, so it is run for real, and writes to its parameter, a list and a tensor."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen, self.table, self.plain = [], {}, torch.zeros(2)

    def forward(self, x):
        if x.sum().item() < 0:
            return x
        self.weight.data.clamp_(max=0.5)
        with torch.no_grad():
            self.weight.mul_(2)
        self.seen.append(x)
        self.table["x"] = x
        self.plain.add_(1)
        return x * self.weight


def test_a_real_run_writes_to_copies():
    model = Weighs()
    seen, table, plain = model.seen, model.table, model.plain
    assert "run for real" in trace(model, (3, 4, 4)).note
    assert trace(model, (3, 4, 4)).kept_bytes > 0
    assert model.weight.item() == 1.0
    assert (model.seen, model.table, model.plain) == (seen, table, plain)
    assert seen == [] and table == {} and not plain.any()


class Waits(nn.Module):
    def __init__(self, go_on):
        super().__init__()
        self.entered, self.go_on, self.inner = threading.Event(), go_on, nn.Conv2d(1, 1, 1)

    def forward(self, x):
        self.entered.set()
        assert self.go_on.wait(10)
        return self.inner(x)


def test_traces_in_two_threads_leave_modules_as_they_were():
    plain, first_is_done = nn.Module.__call__, threading.Event()
    first, second, found = Waits(threading.Event()), Waits(first_is_done), []

    def trace_first():
        found.append(trace(first, (1, 4, 4)).macs)
        first_is_done.set()

    def trace_second():
        found.append(trace(second, (1, 4, 4)).macs)

    overlap(trace_first, trace_second, first.entered, first.go_on)
    assert found == [16, 16] and nn.Module.__call__ is plain


class Aside(nn.Module):
    """While its forward runs, another thread is inside a model of its own."""

    def __init__(self):
        super().__init__()
        self.other = Waits(threading.Event())

    def forward(self, x):
        thread = threading.Thread(target=lambda: self.other(torch.zeros(1, 1, 8, 8)))
        thread.start()
        assert self.other.entered.wait(10)
        y = x * 2
        self.other.go_on.set()
        thread.join(10)
        return y


def test_a_model_that_runs_in_another_thread_is_not_traced():
    assert [(row.path, row.op) for row in trace(Aside(), (3, 8, 8))] == [("", "mul")]


# ------------------------------------------------------------------- bad input


class WrongName(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 1, 1), Fails())

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    "model, shape, message",
    [
        (
            nn.Sequential(nn.Conv2d(3, 8, 3)),
            (1, 8, 8),
            "0 (Conv2d, conv2d) got (1, 8, 8): it has 1 channel where the weight expects 3; "
            "give an input with 3 channels, or build the model for 1",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.MaxPool2d(4)),
            (1, 6, 6),
            "1 (MaxPool2d, max_pool2d) got (1, 2, 2): kernel 4 does not fit size 2 with padding "
            "0: pad by at least 1 on each side, or use a kernel that spans at most 2; one pixel "
            "here is 2 pixels of the input, so give it a larger image",
        ),
        (
            nn.Conv1d(1, 1, 4),
            (1, 3),
            "Conv1d (Conv1d, conv1d) got (1, 3): kernel 4 does not fit size 3 with padding 0",
        ),
        (
            nn.Conv2d(1, 1, 3, padding="valid"),
            (1, 5, 2),
            "Conv2d (Conv2d, conv2d) got (1, 5, 2): kernel 3 does not fit size 2 with padding 0",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(9, 2)),
            (1, 4, 4),
            "1 (Linear, linear) got (16,): it has 16 features where the weight expects 9; "
            "build it as nn.Linear(16, 2), or give inputs of another size",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 8, 1), nn.BatchNorm2d(16)),
            (1, 4, 4),
            "1 (BatchNorm2d, batch_norm) got (8, 4, 4): it has 8 channels where the normalization "
            "expects 16; build it for 8",
        ),
        (
            WrongName(),
            (1, 4, 4),
            'inner.1 (Fails) fails on (1, 4, 4): "a learner\'s slip" [KeyError] (test_trace.py',
        ),
        (
            nn.LazyConv2d(4, 3),
            (1, 4, 4),
            "weight has no shape yet, because its module is lazy: run the model once on a batch, "
            "then trace it",
        ),
        (
            nn.Sequential(torch.jit.script(nn.ReLU())),
            (1, 4, 4),
            "0 is TorchScript, which hides its operations: trace the module that it was made from",
        ),
        (nn.Flatten(), (1, 0, 4), "an input shape has positive sizes, got (1, 0, 4)"),
        (
            nn.Flatten(),
            "a picture",
            "an input is a shape such as (3, 224, 224), an example tensor, a list, tuple or dict "
            "of those, a number, a flag or None; got 'a picture'",
        ),
    ],
)
def test_errors_name_the_module_the_shape_and_the_next_step(model, shape, message):
    with pytest.raises(TraceError) as caught:
        trace(model, shape)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "model, message",
    [
        (None, "trace got None, expected a module, such as build('resnet50')"),
        (nn.ReLU, "expected a module, such as ReLU(...)"),
        ("resnet", "trace got 'resnet', expected a module"),
    ],
)
def test_what_is_no_module_is_refused(model, message):
    with pytest.raises(TraceError, match=re.escape(message)):
        trace(model, (3, 8, 8))


def test_a_quantized_module_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(TraceError, match="2 is quantized .Linear.: trace the float model"):
        trace(quantized, (3, 8, 8))


def test_a_shape_with_the_batch_in_it_is_recognized():
    with pytest.raises(TraceError, match=re.escape("without the batch: (3, 8, 8)")):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 3, 8, 8))


def test_no_input_is_an_error():
    with pytest.raises(TraceError, match="give it a shape such as"):
        trace(nn.ReLU())


def test_a_failing_forward_keeps_its_own_words():
    with pytest.raises(TraceError, match="a learner's slip.*KeyError") as caught:
        trace(Fails(), (1, 4, 4))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("lenet5", (1, 28, 28)),
        ("unet", (1, 188, 188)),
        ("googlenet", (3, 224, 224)),
        ("resnet18", (3, 224, 224)),
        ("densenet121", (3, 224, 224)),
        ("convnext_tiny", (3, 64, 64)),
    ],
)
def test_a_graph_that_torch_fx_made_of_our_model_gives_the_same_table(name, shape):
    model = build(name).eval()
    table, graph = trace(model, shape), trace(torch.fx.symbolic_trace(model), shape)
    for column in ("op", "params", "macs", "receptive_field"):
        assert [getattr(row, column) for row in graph] == [getattr(row, column) for row in table]
    # A module that turns its map back shows it turned back; the graph has no such module.
    assert [sorted(row.out_shape) for row in graph] == [sorted(row.out_shape) for row in table]
    assert graph.kept_bytes == table.kept_bytes
