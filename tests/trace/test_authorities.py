"""The trace against authorities: torchvision's metadata, real passes, gradients, PyTorch itself."""

import pytest
import torch
from torch import nn

from cnnlab import arithmetic
from cnnlab._torchvision import import_torchvision
from cnnlab.models import MODELS, build
from cnnlab.trace.run import trace
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
