"""The models against their papers: counts, sizes and rules that the papers print."""

import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnlab._torchvision import import_torchvision
from cnnlab.models import MODELS, alexnet, build, googlenet, load_pretrained, options, resnet, vgg

import_torchvision()
from torchvision import models as published  # noqa: E402


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def without_norms(model):
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters(model) - sum(map(parameters, norms))


def on_meta(name, **given):
    with torch.device("meta"):
        return build(name, **given)


def macs(model, *shape):
    """Convolutions and linear layers, bias left out."""
    total = []

    def count(layer, inputs, output):
        total.append(output.numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    model.eval()(torch.empty(1, *shape, device="meta"))
    return sum(total)


def sizes(model, names, *shape):
    """The output size (C, H, W) of the named modules for one image."""
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: tuple(output.shape[1:])})

    for name in names:
        model.get_submodule(name).register_forward_hook(keep(name))
    model.eval()(torch.empty(1, *shape, device="meta"))
    return [found[name] for name in names]


# Counts

EXACT = [
    ("lenet5", {}, 61_706),
    ("lenet5", {"modern": True, "image_size": 32}, 61_706),
    ("alexnet", {}, 60_965_224),  # the two-tower Caffe model
    ("alexnet", {"form": "ungrouped"}, 62_378_344),
    ("alexnet", {"form": "torchvision"}, 61_100_840),
    ("googlenet", {}, 6_998_552),  # the Caffe model's, bvlc_googlenet
    ("nin", {}, 966_986),  # the authors' Caffe model
    ("resnet20", {}, 269_722),
    ("resnet32", {}, 464_154),
    ("resnet44", {}, 658_586),
    ("resnet56", {}, 853_018),
    ("resnet110", {}, 1_727_962),
]


@pytest.mark.parametrize("name, given, count", EXACT)
def test_parameters_to_the_unit(name, given, count):
    assert parameters(on_meta(name, **given)) == count


MILLIONS = [
    # VGG, table 2
    ("vgg11", {}, "133"),
    ("vgg13", {}, "133"),
    ("vgg16_c", {}, "134"),
    ("vgg16", {}, "138"),
    ("vgg19", {}, "144"),
    # ResNet, table 6
    ("resnet20", {}, "0.27"),
    ("resnet32", {}, "0.46"),
    ("resnet44", {}, "0.66"),
    ("resnet56", {}, "0.85"),
    ("resnet110", {}, "1.7"),
    # ResNeXt, table 1
    ("resnext50_32x4d", {}, "25.0"),
    # DenseNet, table 2
    ("densenet40_k12", {}, "1.0"),
    ("densenet100_k12", {}, "7.0"),
    ("densenet100_k24", {}, "27.2"),
    ("densenet_bc100_k12", {}, "0.8"),
    ("densenet_bc250_k24", {}, "15.3"),
    # MobileNet, table 6
    ("mobilenet_v1", {}, "4.2"),
    ("mobilenet_v1", {"width_multiplier": 0.75}, "2.6"),
    ("mobilenet_v1", {"width_multiplier": 0.5}, "1.3"),
    ("mobilenet_v1", {"width_multiplier": 0.25}, "0.5"),
    # ConvNeXt, table 1: "29M"
    ("convnext_tiny", {}, "29"),
]


@pytest.mark.parametrize("name, given, printed", MILLIONS)
def test_parameters_as_the_papers_print_them(name, given, printed):
    step = 10.0 ** -len(printed.partition(".")[2])
    assert abs(parameters(on_meta(name, **given)) / 1e6 - float(printed)) <= 0.5 * step


@pytest.mark.parametrize(
    "multiplier, operations, printed",
    [(1.4, 582, 6.06), (1.0, 300, 3.47), (0.75, 209, 2.61), (0.5, 97, 1.95), (0.35, 59, 1.66)],
)
def test_mobilenet_v2_is_the_authors(multiplier, operations, printed):
    """Millions, as the authors' table of published networks has them (tensorflow/models, slim,
    nets/mobilenet/README), batch norms left out. The paper's table 4 has 6.9 for 1.4: not what was
    published."""
    model = on_meta("mobilenet_v2", width_multiplier=multiplier)
    assert abs(without_norms(model) / 1e6 - printed) < 0.005
    assert abs(macs(model, 3, 224, 224) / 1e6 - operations) < 1


OPERATIONS = [
    # ResNet, table 1: 10^9 multiply-adds, some rounded and some cut off
    ("resnet18", {}, 1.8e9, 0.1e9),
    ("resnet34", {}, 3.6e9, 0.1e9),
    ("resnet34", {"skip": False}, 3.6e9, 0.1e9),
    ("resnet50", {"stride_on": "1x1"}, 3.8e9, 0.1e9),
    ("resnet101", {"stride_on": "1x1"}, 7.6e9, 0.1e9),
    ("resnet152", {"stride_on": "1x1"}, 11.3e9, 0.1e9),
    ("resnext50_32x4d", {}, 4.2e9, 0.1e9),  # ResNeXt, table 1
    # MobileNet, table 6
    ("mobilenet_v1", {}, 569e6, 0.5e6),
    ("mobilenet_v1", {"width_multiplier": 0.75}, 325e6, 0.5e6),
    ("mobilenet_v1", {"width_multiplier": 0.5}, 149e6, 0.5e6),
    ("mobilenet_v1", {"width_multiplier": 0.25}, 41e6, 0.5e6),
    ("convnext_tiny", {}, 4.5e9, 0.05e9),
]


@pytest.mark.parametrize("name, given, printed, slack", OPERATIONS)
def test_operations_as_the_papers_print_them(name, given, printed, slack):
    assert abs(macs(on_meta(name, **given), 3, 224, 224) - printed) <= slack


# The names


def test_an_unknown_name_gets_the_nearest_one():
    for call in (build, options, load_pretrained):
        with pytest.raises(ValueError, match="no model is called 'vgg6', did you mean 'vgg16'?"):
            call("vgg6")
    with pytest.raises(ValueError, match="no model is called 'transformer'; there are lenet5"):
        build("transformer")


def test_an_unknown_option_gets_the_nearest_one_and_the_list():
    with pytest.raises(ValueError, match="'num_class', did you mean 'num_classes'.*stride_on"):
        build("resnet18", num_class=10)
    with pytest.raises(ValueError, match="'weights'; it takes form, num_classes"):
        build("alexnet", weights="DEFAULT")
    assert "modern" in options("lenet5") and "stages" not in options("vgg16")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_channels_and_classes_and_names_a_wrong_image(name):
    model = on_meta(name, in_channels=2, num_classes=7).eval()
    side = {"lenet5": 28, "unet": 188}.get(name, 64)
    x = torch.empty(2, 2, side, side, device="meta")
    assert model(x).shape[:2] == (2, 7)
    with pytest.raises(ValueError, match="expects 2 channels, got 3.*in_channels=3"):
        model(torch.empty(2, 3, side, side, device="meta"))
    with pytest.raises(ValueError, match=r"got \(2, \d+, \d+\)"):
        model(x[0])


@pytest.mark.parametrize(
    "name, given, least",
    [
        ("alexnet", {}, 63),
        ("alexnet", {"form": "torchvision"}, 63),
        ("vgg11", {}, 32),
        ("vgg16", {"poolings": (1, 2)}, 4),
        ("vgg_small", {}, 8),
        ("nin", {}, 4),
        ("googlenet", {}, 31),
        ("googlenet", {"form": "torchvision"}, 15),
        ("densenet121", {}, 29),
        ("densenet40_k12", {}, 4),
        ("convnext_tiny", {}, 32),
        ("unet", {}, 188),
        ("unet", {"padded": True}, 16),
        ("lenet5", {}, 28),
        ("lenet5", {"image_size": 32}, 32),
    ],
)
def test_the_smallest_image_passes_and_one_pixel_less_is_refused(monkeypatch, name, given, least):
    """The limits are the truth: at the limit torch itself is content, below it is not."""
    model = on_meta(name, **given).eval()
    channels = 1 if name in ("lenet5", "vgg_small", "unet") else 3
    model(torch.empty(1, channels, least, least, device="meta"))
    with pytest.raises(ValueError, match=f"nothing is left for .*, got {least}x{least - 1}: "):
        model(torch.empty(1, channels, least, least - 1, device="meta"))
    monkeypatch.setattr(sys.modules[type(model).__module__], "check_image", lambda *_: ())
    model.to_empty(device="cpu")  # on meta, torch 2.6 gives an empty map instead of an error
    with pytest.raises((RuntimeError, ValueError)), torch.no_grad():
        model(torch.zeros(1, channels, least, least - 1))


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "mobilenet_v1", "mobilenet_v2"])
def test_padded_models_take_a_single_pixel(name):
    assert on_meta(name).eval()(torch.empty(1, 3, 1, 1, device="meta")).shape[0] == 1


@pytest.mark.parametrize(
    "name, given, message",
    [
        (
            "alexnet",
            {"form": "one"},
            "form must be one of paper, ungrouped, torchvision; got 'one'",
        ),
        ("googlenet", {"form": "v3"}, "form must be 'paper' or 'torchvision', got 'v3'"),
        ("googlenet", {"transform_input": True, "in_channels": 1}, "3 channels, in_channels is 1"),
        ("lenet5", {"image_size": 8}, r"image_size must be 28 \(padded by 2\) or 32, got 8"),
        ("resnet18", {"stem": "5x5"}, "stem must be '7x7' or '3x3' here, got '5x5'"),
        ("resnet18", {"stride_on": "1x1"}, "stride_on must be '3x3' here, got '1x1'"),
        ("resnet18", {"shortcut": "B"}, "shortcut must be 'projection' or 'padding'"),
        ("resnet18", {"zero_init": True, "skip": False}, "zero_init needs skip=True"),
        ("resnet18", {"stage_widths": (64, 128, 256)}, r"4 stages need as many stage_widths, got"),
        ("resnet20", {"stage_widths": (8, 16, 32, 64)}, "3 stages need as many .* 16, 32, 64"),
        ("densenet121", {"stem": "5x5"}, "stem must be '7x7' or '3x3'"),
        ("vgg11", {"poolings": (1, 2, 9)}, r"stages from 1 to 5, got \(1, 2, 9\)"),
        ("vgg_small", {"poolings": (0, 1)}, r"stages from 1 to 3, got \(0, 1\)"),
        ("vgg11", {"widths": (8, 8)}, r"5 stages need as many widths, got \(8, 8\)"),
    ],
)
def test_an_impossible_option_is_explained(name, given, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name, **given)


# LeNet-5


def test_lenet_has_the_sizes_of_figure_2_and_both_forms():
    expected = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,)]
    for given in ({}, {"modern": True}, {"image_size": 32}):
        size = given.get("image_size", 28)
        layers = ["c1", "s2", "c3", "s4", "c5", "f6"]
        assert sizes(on_meta("lenet5", **given), layers, 1, size, size) == expected
    x = torch.tensor([[[[0.0, 1.0], [2.0, 7.0]]]])
    assert build("lenet5").s2(x).item() == 2.5 and build("lenet5", modern=True).s2(x).item() == 7
    # a larger image fits the convolutions but not the linear layers
    with pytest.raises(ValueError, match="LeNet-5 was built for 28x28 images, got 32x32"):
        build("lenet5")(torch.zeros(1, 1, 32, 32))


# AlexNet


@pytest.mark.parametrize("form", alexnet.TABLE)
def test_alexnet_has_the_sizes_of_figure_2(form):
    model = on_meta("alexnet", form=form)
    convolutions = [
        f"features.{i}" for i, m in enumerate(model.features) if isinstance(m, nn.Conv2d)
    ]
    assert [s[1:] for s in sizes(model, convolutions, 3, 224, 224)] == [
        (55, 55),
        (27, 27),
        (13, 13),
        (13, 13),
        (13, 13),
    ]


def test_alexnet_normalizes_by_the_sum_over_five_neighbours():
    """Section 3.3: b = a / (k + alpha * sum a^2)^beta; k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    norm = next(m for m in build("alexnet").features if isinstance(m, nn.LocalResponseNorm))
    a = 50 * torch.rand(1, 8, 1, 1, dtype=torch.float64)
    for i in range(8):
        neighbours = a[0, max(0, i - 2) : i + 3]
        expected = a[0, i] / (2 + 1e-4 * (neighbours**2).sum()) ** 0.75
        assert torch.allclose(norm(a)[0, i], expected)


def test_alexnets_towers_meet_only_in_the_third_convolution():
    torch.manual_seed(0)
    model = build("alexnet").eval()
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    for convolution, meet in zip(convolutions[1:], (False, True, False, False)):
        x = torch.zeros(1, convolution.in_channels, 3, 3)
        x[:, convolution.in_channels // 2 :] = 1  # the second tower alone
        changed = convolution(x) - convolution(torch.zeros_like(x))
        assert bool(changed[:, : convolution.out_channels // 2].any()) is meet


def test_alexnet_drops_outputs_in_the_paper_and_inputs_in_torchvision():
    kinds = {
        form: [type(m) for m in on_meta("alexnet", form=form).classifier]
        for form in ("paper", "torchvision")
    }
    assert kinds["paper"] == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    assert kinds["torchvision"] == [nn.Dropout, nn.Linear, nn.ReLU] * 2 + [nn.Linear]


# VGG


def test_vgg_c_is_d_with_the_third_convolution_of_three_stages_1x1():
    c, d = vgg.TABLE["C"], vgg.TABLE["D"]
    assert [len(stage) for stage in c] == [len(stage) for stage in d]
    assert [stage[-1] for stage in c] == [3, 3, 1, 1, 1]
    saved = 8 * (256 * 256 + 512 * 512 + 512 * 512)
    assert parameters(on_meta("vgg16")) - parameters(on_meta("vgg16_c")) == saved


def test_vgg_layers_are_counted_as_in_table_1():
    for name, layers in {"vgg11": 11, "vgg13": 13, "vgg16": 16, "vgg16_c": 16, "vgg19": 19}.items():
        weighted = [m for m in on_meta(name).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert len(weighted) == layers


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg16_c", "vgg19"])
def test_only_vggs_poolings_change_the_size(name):
    model = on_meta(name)
    convolutions = [
        f"features.{i}" for i, m in enumerate(model.features) if isinstance(m, nn.Conv2d)
    ]
    found = sizes(model, convolutions, 3, 224, 224)
    stages = [
        stage
        for stage, kernels in enumerate(
            vgg.TABLE[dict(vgg11="A", vgg13="B", vgg16="D", vgg16_c="C", vgg19="E")[name]]
        )
        for _ in kernels
    ]
    assert found == [(vgg.WIDTHS[stage], 224 >> stage, 224 >> stage) for stage in stages]


def test_vgg_small_and_vgg_with_fewer_poolings():
    widths = (1, 32, 32, 64, 64, 128, 128)
    expected = sum(9 * a * b + b + 2 * b for a, b in zip(widths, widths[1:]))
    expected += (3 * 3 * 128 + 1) * 128 + (128 + 1) * 10
    assert parameters(on_meta("vgg_small")) == expected
    small = {"poolings": (2, 4), "pool_size": 1, "hidden": (), "num_classes": 10}
    model = on_meta("vgg19", **small)
    assert sizes(model, ["features"], 3, 32, 32) == [(512, 8, 8)]
    assert parameters(model.classifier) == 512 * 10 + 10


def test_vggs_head_is_drawn_with_deviation_0_01_as_torchvisions():
    """torchvision's `VGG`: `init.normal_(weight, 0, 0.01)`, biases zero. The paper has its 10^-2
    as a variance (section 3.1)."""
    torch.manual_seed(0)
    model = build("vgg_small")  # 147,456 and 1,280 weights
    for layer in (m for m in model.classifier if isinstance(m, nn.Linear)):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.08)
        assert abs(layer.weight.mean()) < 1e-3 and not layer.bias.any()


# Network in Network and GoogLeNet


def test_nin_has_caffes_sizes_and_no_linear_layer():
    model = on_meta("nin")
    pools = [
        f"features.{i}"
        for i, m in enumerate(model.features)
        if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))
    ]
    assert sizes(model, pools, 3, 32, 32) == [(96, 16, 16), (192, 8, 8)]
    assert not any(isinstance(m, nn.Linear) for m in model.modules())


def test_inception_modules_have_the_widths_of_table_1():
    widths = [row.width for row in googlenet.TABLE.values()]
    assert widths == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


@pytest.mark.parametrize("form", ["paper", "torchvision"])
def test_googlenet_has_the_sizes_of_table_1(form):
    names = [
        "conv1",
        "maxpool1",
        "conv3",
        "maxpool2",
        "inception3a",
        "inception3b",
        "maxpool3",
        "inception4a",
        "inception4d",
        "inception4e",
        "maxpool4",
        "inception5b",
        "avgpool",
    ]
    expected = [
        (64, 112, 112),
        (64, 56, 56),
        (192, 56, 56),
        (192, 28, 28),
        (256, 28, 28),
        (480, 28, 28),
        (480, 14, 14),
        (512, 14, 14),
        (528, 14, 14),
        (832, 14, 14),
        (832, 7, 7),
        (1024, 7, 7),
        (1024, 1, 1),
    ]
    assert sizes(on_meta("googlenet", form=form), names, 3, 224, 224) == expected


def test_googlenet_normalizes_as_caffe_does():
    """bvlc_googlenet, train_val.prototxt: local_size 5, alpha 1e-4, beta 0.75; Caffe divides alpha
    by the size: b = a / (1 + alpha / n * sum a^2)^beta."""
    model = build("googlenet")
    a = 300 * torch.rand(1, 8, 1, 1, dtype=torch.float64)
    for norm in (model.norm1, model.norm2):
        for i in range(8):
            neighbours = a[0, max(0, i - 2) : i + 3]
            expected = a[0, i] / (1 + 1e-4 / 5 * (neighbours**2).sum()) ** 0.75
            assert torch.allclose(norm(a)[0, i], expected)


def test_the_naive_module_passes_every_channel_on():
    module = googlenet.NaiveInception(192, 64, 128, 32)
    x = torch.rand(1, 192, 5, 5)
    y = module(x)
    assert y.shape == (1, 416, 5, 5)
    assert torch.equal(y[:, 224:], F.max_pool2d(x, 3, 1, 1))
    weights = 192 * (64 + 9 * 128 + 25 * 32)
    assert parameters(module) == weights + 64 + 128 + 32


def test_auxiliary_heads_answer_in_training_only():
    model = on_meta("googlenet", aux=True)
    x = torch.empty(2, 3, 224, 224, device="meta")
    outputs = model.train()(x)
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [tuple(o.shape) for o in outputs] == [(2, 1000)] * 3
    assert model.eval()(x).shape == (2, 1000)
    with pytest.raises(ValueError, match="auxiliary heads expect 14x14 maps, got 6x6"):
        model.train()(x[:, :, :96, :96])


def test_googlenet_trains_like_torchvisions():
    torch.manual_seed(0)
    here = build("googlenet", form="torchvision", aux=True, num_classes=5)
    there = published.googlenet(
        weights=None, aux_logits=True, num_classes=5, init_weights=False, dropout=0.4
    )
    there.load_state_dict(here.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    got = here.train()(x)
    torch.manual_seed(1)
    expected = there.train()(x)
    for a, b in zip(got, expected):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


# ResNet


@pytest.mark.parametrize("name, block", [("resnet18", "BasicBlock"), ("resnet50", "Bottleneck")])
def test_a_silent_branch_leaves_the_input(name, block):
    """relu(x) after addition; x itself, negative values too, with pre-activation (figure 1);
    and nothing at all without the shortcut."""
    cls, x = getattr(resnet, block), torch.randn(2, 64, 4, 4)

    def silent(**given):
        module = cls(64, 64 // cls.expansion, **given).eval()
        last = module.conv3 if block == "Bottleneck" else module.conv2
        nn.init.zeros_(last.weight)
        return module(x)

    assert torch.equal(silent(), x.relu())
    assert torch.equal(silent(preactivation=True), x)
    assert not silent(skip=False).any()


@pytest.mark.parametrize("block", [resnet.BasicBlock, resnet.Bottleneck])
@torch.inference_mode()
def test_a_preactivated_projection_sees_what_the_branch_sees(block):
    """As in KaimingHe/resnet-1k-layers, resnet-pre-act.lua: where the shape changes, norm and ReLU
    come before branch and shortcut alike."""
    torch.manual_seed(0)
    module = block(8, 16, 2, preactivation=True).eval()
    last = module.conv3 if block is resnet.Bottleneck else module.conv2
    nn.init.zeros_(last.weight)
    nn.init.normal_(module.bn1.bias)
    x = torch.randn(2, 8, 6, 6)
    expected = F.conv2d(module.bn1(x).relu(), module.downsample.weight, stride=2)
    assert expected.any() and torch.equal(module(x), expected)


def test_option_a_takes_every_second_pixel_and_adds_empty_channels():
    x = torch.randn(1, 16, 5, 6)
    y = resnet.PadShortcut(16, 2)(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2]) and y.shape == (1, 32, 3, 3)
    assert not y[:, 16:].any()


@torch.inference_mode()
def test_a_plain_network_is_the_residual_one_without_additions():
    theirs = published.resnet18().eval()
    state = {k: v for k, v in theirs.state_dict().items() if "downsample" not in k}
    plain = build("resnet18", skip=False).eval()
    plain.load_state_dict(state, strict=True)
    x = torch.randn(1, 3, 64, 64)
    expected = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        for block in stage:
            expected = torch.relu(block.bn1(block.conv1(expected)))
            expected = torch.relu(block.bn2(block.conv2(expected)))
    expected = theirs.fc(expected.mean((2, 3)))
    assert torch.allclose(plain(x), expected, rtol=1e-5, atol=1e-6)


def test_preactivated_cifar_resnets_have_the_counts_of_their_table_4():
    """Bottlenecks, 9n + 2 layers: ResNet-164 has 1.7M parameters, ResNet-1001 10.2M, which leaves
    the batch norms out."""
    for n, printed in ((18, 1.7), (111, 10.2)):
        with torch.device("meta"):
            model = resnet.ResNet(
                resnet.Bottleneck,
                (n, n, n),
                stage_widths=(16, 32, 64),
                stem="3x3",
                preactivation=True,
                num_classes=10,
            )
        assert abs(without_norms(model) / 1e6 - printed) < 0.05


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_preactivated_networks_have_one_norm_before_each_convolution(name):
    model = on_meta(name, preactivation=True)
    body = [
        m for stage in model.children() if isinstance(stage, nn.Sequential) for m in stage.modules()
    ]
    convolutions = [m for m in body if isinstance(m, nn.Conv2d)]
    projections = [
        m for m in body if isinstance(m, resnet.Residual) and isinstance(m.downsample, nn.Conv2d)
    ]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # the stem's norm serves the first convolution, and one more closes the network
    assert len(norms) == len(convolutions) - len(projections) + 1
    model = build(name, preactivation=True, num_classes=2)
    model(torch.randn(2, 3, 32, 32)).sum().backward()  # nothing is overwritten that is needed
    assert all(p.grad is not None for p in model.parameters())


def test_strides_are_where_the_option_says():
    for place, strides in (("1x1", (2, 1)), ("3x3", (1, 2))):
        block = on_meta("resnet50", stride_on=place).layer2[0]
        assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


@torch.inference_mode()
def test_zero_init_starts_every_block_as_the_identity():
    model = build("resnet50", zero_init=True).eval()
    x = torch.rand(1, 256, 4, 4)
    assert torch.equal(model.layer1[1](x), x)
    theirs = published.resnet50(zero_init_residual=True)
    silent = {k for k, v in theirs.state_dict().items() if "bn3.weight" in k and not v.any()}
    assert silent == {
        k
        for k, v in model.state_dict().items()
        if "bn" in k and k.endswith("weight") and not v.any()
    }


# DenseNet, MobileNet, U-Net, ConvNeXt


def test_densenet_grows_by_k_and_transitions_halve():
    names = [f"features.{kind}{n}" for n in (1, 2, 3) for kind in ("denseblock", "transition")]
    assert sizes(on_meta("densenet121"), [*names, "features.denseblock4"], 3, 224, 224) == [
        (256, 56, 56),
        (128, 28, 28),
        (512, 28, 28),
        (256, 14, 14),
        (1024, 14, 14),
        (512, 7, 7),
        (1024, 7, 7),
    ]


def test_recomputing_changes_memory_and_nothing_else():
    torch.manual_seed(0)
    plain = build("densenet40_k12", num_classes=3)
    lean = build("densenet40_k12", num_classes=3, recompute=True)
    lean.load_state_dict(plain.state_dict())
    x, kept = torch.randn(2, 3, 8, 8), []
    for model in (plain, lean):
        seen = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: seen.update({t.data_ptr(): t.nbytes}) or t, lambda t: t
        ):
            loss = model(x).square().sum()
        kept.append(sum(seen.values()))
        loss.backward()
    assert kept[1] < 0.6 * kept[0]
    for (name, a), b in zip(plain.named_parameters(), lean.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("multiplier", [0.35, 0.5, 0.75, 1.4])
def test_mobilenet_v2_rounds_widths_like_torchvision(multiplier):
    with torch.device("meta"):
        theirs = published.mobilenet_v2(width_mult=multiplier)
    ours = on_meta("mobilenet_v2", width_multiplier=multiplier)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


def test_unet_is_figure_1():
    model = on_meta("unet")
    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(m, convolutions) for m in model.modules()) == 23  # section 2
    names = [*(f"down.{i}" for i in range(4)), "bottom", *(f"join.{i}" for i in range(4)), "head"]
    assert sizes(model, names, 1, 572, 572) == [
        (64, 568, 568),
        (128, 280, 280),
        (256, 136, 136),
        (512, 64, 64),
        (1024, 28, 28),
        (512, 52, 52),
        (256, 100, 100),
        (128, 196, 196),
        (64, 388, 388),
        (2, 388, 388),
    ]


def test_unet_names_the_sizes_that_fit():
    with pytest.raises(ValueError, match="a side of 571 does not give: crop it to 556 or .* 572"):
        on_meta("unet")(torch.empty(1, 1, 572, 571, device="meta"))
    padded = on_meta("unet", padded=True, batch_norm=True, depth=3, in_channels=3, num_classes=5)
    assert padded(torch.empty(1, 3, 40, 64, device="meta")).shape == (1, 5, 40, 64)
    with pytest.raises(ValueError, match="3 poolings.*a side of 44 .*: crop it to 40 or pad .* 48"):
        padded(torch.empty(1, 3, 40, 44, device="meta"))


def test_convnext_drops_blocks_as_often_as_torchvision():
    with torch.device("meta"):
        theirs = published.convnext_tiny()
        ours = build("convnext_tiny")
    expected = [m.p for m in theirs.modules() if type(m).__name__ == "StochasticDepth"]
    got = [m.drop for m in ours.modules() if hasattr(m, "drop")]
    assert len(got) == 18 and all(map(math.isclose, got, expected))


def test_stochastic_depth_leaves_whole_images_out_and_keeps_the_mean():
    from cnnlab.models.convnext import ConvNeXtBlock

    torch.manual_seed(0)
    block = ConvNeXtBlock(4, drop=0.25)
    nn.init.ones_(block.layer_scale)
    x = torch.randn(1, 4, 3, 3).expand(4000, 4, 3, 3)
    branch = block.train()(x) - x
    full = block.eval()(x) - x
    kept = branch.flatten(1).abs().sum(1) > 0
    assert abs(kept.float().mean() - 0.75) < 0.03
    assert torch.allclose(branch[kept], full[kept] / 0.75, atol=1e-5)
