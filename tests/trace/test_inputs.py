"""What can be given to a trace, how the batch is known, and that nothing of it changes."""

import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.trace.run import TraceError, trace


def module(forward, **parts):
    """A learner's module: its parts, and its forward as a function of self."""
    made = type("Mine", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


class Pair(NamedTuple):
    image: object
    scale: object


CONV = nn.Conv2d(3, 4, 3, bias=False)
CONV_MACS = 4 * 27 * 36  # on 3 x 8 x 8


@pytest.mark.parametrize(
    "forward, inputs, keywords",
    [
        (lambda s, d: s.conv(d["image"]) * d["scale"], [{"image": (3, 8, 8), "scale": 2.0}], {}),
        (lambda s, pair: s.conv(pair.image) * pair.scale, [Pair((3, 8, 8), 2.0)], {}),
        (lambda s, x, mask=None: s.conv(x) if mask is None else x, [(3, 8, 8), None], {}),
        (lambda s, x, flag: s.conv(x) if flag else x, [(3, 8, 8), True], {}),
        (lambda s, x, times: s.conv(x) * times, [(3, 8, 8), 2], {}),
        (lambda s, x, *, gain: s.conv(x) * gain, [(3, 8, 8)], {"gain": 2.0}),
        (lambda s, x, *, y: s.conv(x) + y, [(3, 8, 8)], {"y": (4, 6, 6)}),
        (lambda s, *, x: s.conv(x), [], {"x": (3, 8, 8)}),
        (lambda s, pair: s.conv(pair[0]) + pair[1], [((3, 8, 8), (4, 6, 6))], {}),
        (lambda s, x: s.conv(x), [tuple(np.array([3, 8, 8]))], {}),
    ],
)
def test_inputs_as_forward_takes_them(forward, inputs, keywords):
    table = trace(module(forward, conv=CONV), *inputs, keywords=keywords)
    assert table.macs == CONV_MACS and table.output.out_shape == (4, 6, 6)


@pytest.mark.parametrize(
    "inputs, keywords, message",
    [
        ([3, 8, 8], {}, "a shape is one argument: trace(model, (3, 8, 8))"),
        ([(3, 8.0, 8)], {}, "an input shape has whole numbers, got (3, 8.0, 8)"),
        (
            [np.zeros((1, 3, 8, 8))],
            {},
            "a NumPy array of shape (1, 3, 8, 8): give torch.from_numpy",
        ),
        ([None], {}, "trace got no shape and no tensor"),
        ([[(3, 8, 8), (3, 8, 8)], (1,)], {}, "forward of Conv2d takes (input), but got 2 inputs"),
        ([(3, 8, 8)], {"gain": 2}, "unexpected keyword argument 'gain'"),
        ([(8, 3, 8, 8)], {}, "A shape is given without the batch: (3, 8, 8)"),
        ([(8, 8, 3)], {}, "Channels come first in PyTorch: (3, 8, 8)"),
        ([(5, 8, 8, 3)], {}, "A shape is given without the batch, channels first: (3, 8, 8)"),
        ([torch.zeros(1, 8, 8, 3)], {}, "in PyTorch: give tensor.movedim(-1, 1)"),
        ([(3, 8, 8)], ["mask"], "keywords=['mask']; expected names with inputs: {'mask': ("),
        ([torch.zeros(3, 8, 8)], {}, "the whole input, as one image without a batch; give tensor["),
        ([torch.zeros(1, 3, 8, 8).byte()], {}, "it has numbers of torch.uint8 where the weight"),
    ],
)
def test_what_cannot_be_an_input_is_answered_with_what_can(inputs, keywords, message):
    with pytest.raises(TraceError) as caught:
        trace(CONV, *inputs, keywords=keywords)
    assert message in str(caught.value) and len(str(caught.value)) < 400


def test_an_advice_is_given_only_where_it_works():
    with pytest.raises(TraceError) as caught:
        trace(nn.Sequential(CONV, nn.Conv2d(5, 4, 1)), (8, 3, 8, 8))  # fails without batch, too
    assert "without the batch" not in str(caught.value)
    with pytest.raises(TraceError, match="let the layer before it make 5 channels"):
        trace(nn.Sequential(CONV, nn.Conv2d(5, 4, 1)), (3, 8, 8))
    with pytest.raises(TraceError, match=r"give an example tensor, torch.zeros\(\(1, 7\)"):
        trace(nn.Embedding(10, 4), (7,))


def test_counts_of_a_batch_are_for_one_image():
    model = nn.Sequential(CONV, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    one, eight = trace(model, (3, 8, 8)), trace(model, torch.zeros(8, 3, 8, 8))
    for count in ("params", "macs", "other_ops", "activations", "peak_live_bytes", "input_shape"):
        assert getattr(one, count) == getattr(eight, count), count
    assert [row.out_shape for row in one] == [row.out_shape for row in eight]
    statistics = 2 * 4 * 4  # mean and deviation per channel, shared by the images
    assert one.kept_bytes - eight.kept_bytes == statistics - statistics // 8
    assert not one.notes and "one of 8 images: the batch is taken from the first" in eight.note
    assert trace(model, (3, 8, 8), batch=8).kept_bytes == eight.kept_bytes


def test_an_example_is_used_as_it_is():
    """Sequence first: of the cut example, attention would have seen a sequence of one."""
    layer = nn.TransformerEncoderLayer(32, 4, 64)
    macs = 30 * 32 * 32 * 4 + 2 * 30 * 30 * 32 + 2 * 30 * 32 * 64
    for given in (torch.zeros(30, 1, 32), torch.zeros(30, 5, 32), (30, 32)):
        table = trace(layer, given)
        assert table.macs == macs and table.output.out_shape == (30, 32)
    assert "second dimension" in trace(layer, torch.zeros(30, 5, 32)).note
    assert trace(layer, torch.zeros(30, 5, 32), batch=1).macs == 5 * macs
    lone = trace(CONV, torch.zeros(3, 8, 8), batch=None)
    assert (lone.macs, lone.output.out_shape, lone.inputs) == (CONV_MACS, (4, 6, 6), ((3, 8, 8),))
    assert lone.output.receptive_field == (3, 3)
    with pytest.raises(TraceError, match="batch 0; expected the number of images"):
        trace(CONV, (3, 8, 8), batch=0)


def test_a_list_of_images_is_a_batch():
    def forward(self, images):
        return self.conv(torch.stack(images))

    model = module(forward, conv=CONV)
    for given, batch in (([torch.zeros(3, 8, 8)] * 2, "auto"), ([(3, 8, 8)], None)):
        table = trace(model, given, batch=batch)
        assert table.macs == CONV_MACS and table.inputs[0] == (3, 8, 8)
        assert table.output.receptive_field == (3, 3)

    with pytest.raises(TraceError, match="Images in a list have no batch: give batch=None"):
        trace(model, [(3, 8, 8), (3, 8, 8)])


class Careless(nn.Module):
    """Layers and a parameter in plain containers, the classic mistake."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)]
        self.more = {"act": [nn.ReLU()], "scale": nn.Parameter(torch.ones(4, 1, 1))}
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        x.mul_(1).relu_()
        with torch.no_grad():
            self.more["scale"].mul_(2)
        return self.head(self.more["act"][0](x) * self.more["scale"])


@pytest.mark.parametrize("values", [False, True])
def test_unregistered_layers_are_counted_named_and_left_alone(values):
    model = Careless()
    if values:
        model.head.register_forward_hook(
            lambda m, x, y: y.sum().item() and None
        )  # must run for real
    norm, scale = model.layers[1], model.more["scale"]
    table = trace(model, (3, 10, 10), training=True)
    assert table.kept_bytes and table.params == 112 + 8 + 4 + 5
    assert [row.path for row in table][:2] == ["layers.0", "layers.1"]
    said = "layers.0 (Conv2d, 112 parameters), layers.1 (BatchNorm2d, 8 parameters), more.scale"
    assert said in table.note and "no optimizer will train them" in table.note
    assert model.layers[1] is norm and norm.num_batches_tracked == 0 and not norm.running_mean.any()
    assert model.more["scale"] is scale and (scale == 1).all() and norm.training


@pytest.mark.parametrize("values", [False, True])
def test_layers_that_no_module_holds_are_counted_named_and_left_alone(values):
    """Made in forward, or found outside of the model."""
    norm = nn.BatchNorm2d(4)

    def forward(self, x):
        if values:
            x.sum().item()  # must run for real
        made = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        return nn.Conv2d(4, 2, 1, bias=False)(made(norm(self.conv(x))))

    table = trace(module(forward, conv=CONV), (3, 8, 8), training=True)
    assert table.params == 4 * 27 + 8 + (16 + 4) + 8 and not table.unused
    said = "BatchNorm2d held by no module (8 parameters), Sequential held by no module (20 param"
    assert said in table.note and "Conv2d held by no module (8 parameters)" in table.note
    # What the convolutions, the norm and its statistics, and ReLU read or made.
    floats = 3 * 64 + 4 * 36 + 2 * 4 + 4 * 36 + 4 * 36
    assert table.kept_bytes == 4 * floats
    assert norm.num_batches_tracked == 0 and not norm.running_mean.any()


def test_no_random_state_moves():
    def forward(self, x):
        return x * random.random() * np.random.rand() + torch.rand(1).item()

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert trace(module(forward), (3, 4, 4)).kept_bytes == 0
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


class Skips(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.near, self.far = nn.Conv2d(3, 8, 3), nn.Conv2d(3, **{"out_channels": 8, **options})

    def forward(self, x):
        return self.near(x) + self.far(x)


@pytest.mark.parametrize(
    "options, got, advice",
    [
        ({"kernel_size": 3, "padding": 1}, "(8, 32, 32)", "give both the same strides"),
        ({"kernel_size": 3, "out_channels": 4}, "(4, 30, 30)", "a 1x1 convolution on one branch"),
    ],
)
def test_a_skip_that_does_not_fit_names_both_branches_and_the_line(options, got, advice):
    with pytest.raises(TraceError) as caught:
        trace(nn.Sequential(nn.Identity(), Skips(**options)), (3, 32, 32))
    said = f"1 (Skips, add) got (8, 30, 30) from 1.near (conv2d) and {got} from 1.far (conv2d)"
    assert said in str(caught.value) and advice in str(caught.value)
    assert "(test_inputs.py, line" in str(caught.value)
    assert "return self.near(x) + self.far(x))" in str(caught.value)


def test_of_a_statement_of_many_lines_only_the_place_is_told():
    class Long(nn.Module):
        def forward(self, x):
            raise ValueError(
                "in the middle of a call",
            )

    with pytest.raises(TraceError, match=r"\(test_inputs.py, line \d+\)\. Outside of trace"):
        trace(Long(), (1, 4, 4))


def test_a_forward_that_returns_nothing_is_named():
    def forward(self, x):
        self.conv(x)

    silent = module(forward, conv=CONV)
    with pytest.raises(TraceError, match="forward of Mine returned None; expected a tensor"):
        trace(silent, (3, 8, 8))
    with pytest.raises(TraceError, match="0 returned None: end its forward with `return`"):
        trace(nn.Sequential(silent, nn.ReLU()), (3, 8, 8))


@pytest.mark.parametrize("kind", ["generator", "str"])
def test_a_forward_that_returns_no_tensor_is_told_what_to_return(kind):
    def forward(self, x):
        y = self.conv(x)
        return (part for part in y) if kind == "generator" else "a cat"

    with pytest.raises(TraceError, match=f"returned a {kind}; expected a tensor, or a list of te"):
        trace(module(forward, conv=CONV), (3, 8, 8))


def test_one_is_said_as_one():
    with pytest.raises(TraceError, match="it has 1 feature where the weight expects 2"):
        trace(nn.Linear(2, 3), (1,))
    with pytest.raises(TraceError, match="it has 1 channel where the normalization expects 2"):
        trace(nn.BatchNorm2d(2), (1, 4, 4))
    lone = module(lambda s, x: x * s.held[0], held=[nn.Parameter(torch.ones(1))])
    assert "held.0 (Parameter, 1 parameter)" in trace(lone, (3, 4, 4)).note


def test_a_rule_for_nothing_is_refused():
    with pytest.raises(TraceError, match="rules= names 'conv2', which is no operation .*'conv2d'"):
        trace(CONV, (3, 8, 8), rules={"conv2": lambda call: None})
    assert trace(CONV, (3, 8, 8), rules={"mul": lambda call: None}).macs == CONV_MACS
