from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.probes import (
    ProbeError,
    activations,
    effective_receptive_field,
    erf_width,
    gradient_norms,
    loss_surface,
    support,
)


def stack(blocks, channels=8, seed=0):
    torch.manual_seed(seed)
    layers, before = [], 1
    for _ in range(blocks):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers)


def chain(*layers):
    return nn.Sequential(*layers)


# Exact support


@pytest.mark.parametrize(
    "model, size, unit, expected",
    [
        (stack(3), 21, (10, 10), ((7, 13), (7, 13))),
        (stack(3), 21, (0, 20), ((0, 3), (17, 20))),  # clipped at the border
        (chain(nn.Conv2d(1, 2, 3, dilation=2)), 9, (2, 3), ((2, 6), (3, 7))),
        (chain(nn.Conv2d(1, 2, (1, 3))), 9, (4, 4), ((4, 4), (4, 6))),
        (chain(nn.Conv2d(1, 2, 7, 2, 3), nn.MaxPool2d(3, 2, 1)), 33, (4, 4), ((11, 21), (11, 21))),
        (chain(nn.MaxPool2d(2, 2), nn.Conv2d(1, 1, 3)), 16, (2, 2), ((4, 9), (4, 9))),
        (chain(nn.MaxPool2d(3, 2, ceil_mode=True)), 8, (3, 3), ((6, 7), (6, 7))),
        (chain(nn.AdaptiveMaxPool2d(1)), 6, (0, 0), ((0, 5), (0, 5))),
        (chain(nn.MaxPool2d(2, 1, dilation=3)), 9, (1, 2), ((1, 4), (2, 5))),
        (chain(nn.ConvTranspose2d(1, 1, 2, 2), nn.Conv2d(1, 1, 3)), 6, (3, 3), ((1, 2), (1, 2))),
        (chain(nn.Conv2d(1, 4, 3), nn.Dropout(0.9), nn.Sigmoid()), 9, (0, 0), ((0, 2), (0, 2))),
    ],
)
def test_support_is_the_rectangle_worked_out_by_hand(model, size, unit, expected):
    assert support(model, (1, size, size), unit) == expected


def test_support_covers_functional_pooling_and_the_center_by_default():
    # unit (5, 5): the pooled convolution sees rows 4 to 7, the short branch 5 to 7
    assert support(AddPool(), (1, 11, 11)) == ((4, 7), (4, 7))


class Branches(nn.Module):
    """A 3x3 and a 5x5 convolution of one channel, and what is made of the two."""

    def __init__(self, made):
        super().__init__()
        self.made = made
        self.small, self.large = (nn.Conv2d(1, 1, k, padding=k // 2) for k in (3, 5))

    def forward(self, x):
        return self.made(self.small(x), self.large(x))


@pytest.mark.parametrize(
    "made",
    [
        lambda a, b: torch.maximum(100 * a, b),
        lambda a, b: torch.minimum(a, 100 * b),
        lambda a, b: (100 * a).max(b),
        lambda a, b: torch.min(a, other=100 * b),
        lambda a, b: torch.cat([100 * a, b], 1).amax(1, keepdim=True),
        lambda a, b: torch.max(torch.cat([100 * a, b], 1), dim=1, keepdim=True)[0],
        lambda a, b: torch.stack([a, 100 * b]).min(0).values,
        lambda a, b: torch.amin(input=torch.stack([a, 100 * b]), dim=0),
    ],
)
def test_support_sees_past_a_maximum(made):
    """Where the 3x3 branch always wins, the 5x5 one counts all the same: the unit at (4, 4) sees
    rows and columns 2 to 6."""
    assert support(Branches(made), (1, 9, 9), (4, 4)) == ((2, 6), (2, 6))


def test_support_of_the_largest_value_is_all_of_its_map():
    assert support(Branches(lambda a, b: a + b.max()), (1, 9, 9), (4, 4)) == ((0, 8), (0, 8))


@pytest.mark.parametrize(
    "clipped",
    [nn.Hardsigmoid(), nn.Hardswish(), nn.ReLU6(inplace=True), nn.Hardtanh(-2, 2)],
)
def test_support_sees_past_a_limit(clipped):
    class Hundredfold(nn.Module):
        def forward(self, x):
            return (100 * x).clamp(max=90).clip_(0, 80)

    model = chain(nn.Conv2d(1, 1, 3, padding=1), Hundredfold(), clipped)
    assert support(model, (1, 9, 9), (4, 4)) == ((3, 5), (3, 5))


def test_support_does_not_depend_on_the_weights():
    model = stack(2)
    nn.init.constant_(model[3].bias, -1e6)  # every ReLU after it is shut
    nn.init.zeros_(model[0].weight)
    model[1].running_mean.fill_(1e6)
    assert support(model, (1, 9, 9), (4, 4)) == ((2, 6), (2, 6))


def test_support_of_nothing_says_so():
    with pytest.raises(ProbeError, match="does not depend on the input"):
        support(chain(nn.Conv2d(1, 1, 1), Zero()), (1, 5, 5))
    with pytest.raises(ProbeError, match="return_indices"):
        support(chain(nn.MaxPool2d(2, return_indices=True)), (1, 5, 5))


class Zero(nn.Module):
    def forward(self, x):
        return x * 0


class AddPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        short = F.max_pool2d(x, 3, stride=1, padding=1)
        return F.relu(F.max_pool2d(self.conv(x), 2, stride=1)) + short[:, :, 1:, 1:]


def test_support_of_a_named_module():
    model = chain(stack(2), nn.Flatten(), nn.Linear(8 * 81, 3))
    assert support(model, (1, 9, 9), (4, 4), path="0.2") == ((3, 5), (3, 5))
    assert support(model, (1, 9, 9), (4, 4), path="0") == ((2, 6), (2, 6))


# Effective receptive field


def test_effective_field_lies_in_the_theoretical_one_and_peaks_inside():
    field = effective_receptive_field(stack(4), (1, 21, 21))
    assert field.shape == (21, 21) and field.dtype == torch.float32
    outside = field.clone()
    outside[6:15, 6:15] = 0
    assert outside.sum() == 0 and field[6:15, 6:15].sum() > 0
    top = int(field.argmax())
    assert abs(top // 21 - 10) <= 2 and abs(top % 21 - 10) <= 2


def test_effective_field_of_equal_weights_is_the_known_convolution():
    model = chain(nn.Conv2d(1, 1, 3, bias=False), nn.Conv2d(1, 1, 3, bias=False))
    for conv in model:
        nn.init.ones_(conv.weight)
    row = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0])
    field = effective_receptive_field(model, (1, 5, 5), count=2)
    assert torch.equal(field, row[:, None] * row)


def test_effective_field_follows_seed_and_unit():
    model = stack(2)
    same = [effective_receptive_field(model, (1, 11, 11), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])
    corner = effective_receptive_field(model, (1, 11, 11), (0, 0))
    assert corner[:3, :3].sum() == corner.sum() > 0


def test_width_counts_pixels_above_the_papers_threshold():
    field = torch.zeros(9, 9)
    field[3:6, 3:6] = 0.046
    field[4, 4] = 1.0
    assert erf_width(field) == erf_width(field, (4, 4)) == 3
    field[3, 3] = 0.045
    assert erf_width(field) == pytest.approx(8**0.5)
    with pytest.raises(ProbeError, match="zero at its center"):
        erf_width(field, (0, 0))


def test_the_share_that_is_effective_shrinks_with_depth():
    widths = []
    for depth in (4, 12):  # linear, equal weights: binomial, so the width grows as a square root
        model = chain(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(depth)])
        for conv in model:
            nn.init.constant_(conv.weight, 1 / 9)
        field = effective_receptive_field(model, (1, 41, 41), count=1)
        widths.append(erf_width(field) / (2 * depth + 1))
    assert widths[1] < 0.85 * widths[0] < 0.85


# Loss surface


def labeled(count=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 6, 6, generator=generator)
    return images, torch.arange(count) % 3


def classifier(seed=0):
    torch.manual_seed(seed)
    return chain(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


@pytest.mark.parametrize("norms", ["batch", "stored"])
def test_the_middle_of_the_surface_is_the_models_own_loss(norms):
    model, (images, labels) = classifier(), labeled()
    own = copy.deepcopy(model).eval()  # no dropout
    own[1].train(norms == "batch")
    surface = loss_surface(model, images, labels, size=3, norms=norms)
    assert surface.shape == (3, 3) and surface.dtype == torch.float32
    assert float(surface[1, 1]) == pytest.approx(
        F.cross_entropy(own(images), labels).item(), rel=1e-6
    )


def test_directions_are_as_long_as_each_filter_and_leave_vectors_alone():
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            with torch.no_grad():
                self.conv.weight[0] *= 100

        def forward(self, x):
            seen.append((self.conv.weight.clone(), self.conv.bias.clone()))
            return self.conv(x).mean((2, 3))

    seen, model = [], Spy()
    images, labels = labeled(4)
    loss_surface(model, images, labels % 2, size=3, reach=0.5)
    (middle, bias), (right, _), (down, _) = seen[4], seen[5], seen[7]
    assert torch.equal(middle, model.conv.weight)
    assert all(torch.equal(b, bias) for _, b in seen)
    own = middle.flatten(1).norm(dim=1)
    for moved in (right, down):
        length = (moved - middle).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, 0.5 * own, rtol=1e-4, atol=0)
    first, second = (right - middle).flatten(), (down - middle).flatten()
    assert abs(F.cosine_similarity(first, second, dim=0)) < 0.95
    opposite = seen[3][0] - middle
    torch.testing.assert_close(opposite, middle - right, rtol=1e-4, atol=1e-6)


def test_the_surface_of_a_linear_model_is_convex_and_follows_the_seed():
    torch.manual_seed(0)
    model, (images, labels) = chain(nn.Flatten(), nn.Linear(36, 3)), labeled(60)
    one = loss_surface(model, images, labels, size=5)
    for line in (*one, *one.T):
        assert (line[2:] + line[:-2] - 2 * line[1:-1]).min() > -1e-5
    assert torch.equal(one, loss_surface(model, images, labels, size=5))
    assert not torch.equal(one, loss_surface(model, images, labels, size=5, seed=1))


def test_with_batch_statistics_the_scale_of_a_normed_layer_does_not_count():
    model, (images, labels) = classifier(), labeled(60)
    large = copy.deepcopy(model)
    with torch.no_grad():
        large[0].weight *= 100
        large[0].bias *= 100
    surfaces = {
        norms: [loss_surface(m, images, labels, size=3, norms=norms) for m in (model, large)]
        for norms in ("batch", "stored")
    }
    torch.testing.assert_close(*surfaces["batch"], rtol=1e-3, atol=1e-3)
    assert surfaces["stored"][1].max() > 10 * surfaces["stored"][0].max()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 1}, "size of at least 2"),
        ({"reach": 0.0}, "reach above 0"),
        ({"norms": "running"}, "norms 'running'; expected"),
    ],
)
def test_a_surface_that_cannot_be_is_named(options, message):
    with pytest.raises(ProbeError, match=message):
        loss_surface(classifier(), *labeled(), **options)
    with pytest.raises(ProbeError, match=r"12 images with labels of shape \(3,\)"):
        loss_surface(classifier(), labeled()[0], torch.zeros(3, dtype=torch.int64))


# Activations and gradients


def test_activations_are_those_of_the_modules_and_not_overwritten():
    model = chain(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(2))
    x = torch.randn(4, 1, 6, 6)
    found = activations(model, x, ["1", "0"])
    assert list(found) == ["1", "0"]
    assert torch.equal(found["0"], model[0](x)) and found["0"].min() < 0
    assert torch.equal(found["1"], model[0](x).relu())


def test_gradient_norms_are_those_of_backward():
    model = chain(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    loss = F.cross_entropy(model(torch.randn(5, 1, 6, 6)), torch.tensor([0, 1, 2, 0, 1]))
    norms = gradient_norms(model, loss)
    relative = gradient_norms(model, loss, relative=True)
    assert model[0].weight.grad is None
    loss.backward()  # the graph is still there
    assert list(norms) == ["0", "3"]
    for path, norm in norms.items():
        weight = model[int(path)].weight
        assert norm == pytest.approx(float(weight.grad.norm()), rel=1e-5)
        assert relative[path] == pytest.approx(norm / float(weight.detach().norm()), rel=1e-5)


def test_gradient_norms_of_a_layer_with_several_weights_go_by_parameter():
    """The loss is the sum of the last layer's 2 outputs per step, 3 steps: what its weight gets is
    the sum of its inputs, twice."""
    lstm = nn.LSTM(2, 4, batch_first=True)
    head = nn.Linear(4, 2)
    model = nn.ModuleDict({"lstm": lstm, "head": head})
    states = lstm(torch.ones(1, 3, 2))[0]
    norms = gradient_norms(model, head(states).sum())
    assert list(norms) == ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "head"]
    assert norms["head"] == pytest.approx(2**0.5 * states.sum(1).norm().item(), rel=1e-5)


IMAGES = torch.linspace(-1, 1, 162).view(2, 1, 9, 9)


class chained(nn.Module):
    """The caller's model itself inside a classifier, so that its state is the one watched."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).mean((2, 3))


PROBES = [
    lambda model: activations(model, torch.randn(2, 1, 9, 9), ["2"]),
    lambda model: effective_receptive_field(model, (1, 9, 9)),
    lambda model: support(model, (1, 9, 9)),
    lambda model: loss_surface(chained(model), IMAGES, torch.zeros(2, dtype=torch.int64), size=2),
]


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("training", [True, False])
def test_the_callers_model_is_left_as_it_was(probe, training):
    model = stack(2).train(training)
    model[4].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = copy.deepcopy(model)
    rng = torch.get_rng_state()
    torch.randn(2, 1, 9, 9)  # what the first probe's own input draws
    after_input = torch.get_rng_state()
    torch.set_rng_state(rng)
    probe(model)
    assert torch.equal(torch.get_rng_state(), after_input if probe is PROBES[0] else rng)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    for (name, a), b in zip(model.state_dict().items(), before.state_dict().values()):
        assert torch.equal(a, b) and a.dtype == b.dtype, name
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert all(p.grad is None for p in model[1:].parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "probe, message",
    [
        (
            lambda m: activations(m, torch.zeros(1, 1, 9, 9), ["00"]),
            "no module '00'. Did you mean '0'",
        ),
        (lambda m: activations(m, torch.zeros(1, 1, 9, 9), ["stem"]), "no module 'stem'. Known: 0"),
        (lambda m: support(m, (1, 9, 9), (9, 0)), r"unit \(9, 0\) is outside .* 9 x 9"),
        (lambda m: support(m, (9, 9)), r"\(9, 9\); expected \(channels, height, width\)"),
        (lambda m: support(chain(m, nn.Flatten()), (1, 9, 9)), r"\(1, 648\); expected a fe"),
        (
            lambda m: activations(nn.LSTM(2, 4), torch.zeros(3, 2), [""]),
            "the model returns a tuple; expected a tensor",
        ),
        (
            lambda m: support(chain(nn.Flatten(2), nn.LSTM(81, 4)), (1, 9, 9), path="1"),
            "module '1' returns a tuple; expected a tensor. Name a module",
        ),
        (lambda m: gradient_norms(m, torch.tensor(1.0)), "grad False; expected one number"),
    ],
)
def test_bad_requests_are_named(probe, message):
    with pytest.raises(ProbeError, match=message):
        probe(stack(2))
