"""For the fuzz of the judge: what functions of learners must do, written anew for fresh inputs.

Each is asked of one answer alone; the judge's own observation is not used.
"""

from __future__ import annotations

import random
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.ch10_answers import Device


def _halves(build) -> bool:
    model = build()
    macs, channels = [], []

    def look(layer, given, out):
        channels.append(out.shape[1])
        if isinstance(layer, nn.Conv2d):
            macs.append(layer.weight.numel() * out.shape[2] * out.shape[3])

    parts = [m for m in model.modules() if not [*m.children()]]
    handles = [part.register_forward_hook(look) for part in parts]
    for parameter in model.parameters():  # positive everywhere: nothing cancels
        nn.init.uniform_(parameter, 0.5, 1.0)
    image = torch.rand(1, 64, 56, 56, requires_grad=True)
    out = model(image)
    [handle.remove() for handle in handles]
    params = sum(p.numel() for p in model.parameters())
    if out.shape != (1, 128, 28, 28) or params > 10_000 or sum(macs) > 10**7 or min(channels) < 32:
        return False
    (read,) = torch.autograd.grad(out.sum(), image, retain_graph=True)
    if not bool((read > 0).all()):
        return False
    rows = (torch.autograd.grad(out[0, c].sum(), image, retain_graph=True)[0] for c in range(128))
    return all(bool((row[0].sum((1, 2)) > 0).all()) for row in rows)


NOTHING = (nn.Dropout, nn.Flatten, nn.Identity, nn.Sequential)  # in evaluation


def _is_vgg16(build) -> bool:
    def parts(model):
        return [
            str(m) for m in model.modules() if not [*m.children()] and not isinstance(m, NOTHING)
        ]

    with torch.device("meta"):
        model = build()
        run = []
        for layer in model.modules():
            if not [*layer.children()] and not isinstance(layer, NOTHING):
                layer.register_forward_hook(lambda m, *_: run.append(str(m)))
        out = model(torch.empty(1, 3, 224, 224))
    stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    before, wanted = 3, []
    for width, count in stages:
        for _ in range(count):
            wanted += [str(nn.Conv2d(before, width, 3, padding=1)), str(nn.ReLU())]
            before = width
        wanted.append(str(nn.MaxPool2d(2)))
    for a, b in ((25088, 4096), (4096, 4096), (4096, 1000)):
        wanted += [f"Linear(in_features={a}, out_features={b}, bias=True)", str(nn.ReLU())]
    return out.shape == (1, 1000) and run == wanted[:-1] and parts(model) == run


def _makes_layers(build) -> bool:
    draw = random.Random(1)
    for _ in range(6):
        stages = tuple(
            tuple(draw.choice((1, 3, 3)) for _ in range(draw.randint(1, 3))) for _ in range(3)
        )
        widths = tuple(draw.randint(1, 7) for _ in stages)
        model, wanted = build(stages, widths), []
        before = 3
        for kernels, width in zip(stages, widths):
            for kernel in kernels:
                wanted.append(nn.Conv2d(before, width, kernel, padding=kernel // 2))
                wanted.append(nn.ReLU())
                before = width
            wanted.append(nn.MaxPool2d(2))
        wanted = nn.Sequential(*wanted)
        wanted.load_state_dict(dict(zip(wanted.state_dict(), model.state_dict().values())))
        x = torch.randn(2, 3, 17, 24)
        if not torch.allclose(model(x.clone()), wanted(x), atol=1e-5):
            return False
    return True


def _collapses(build) -> bool:
    for a, b, c in ((5, 4, 3), (3, 7, 5), (6, 6, 6), (2, 1, 4)):
        first, second, x = nn.Linear(a, b), nn.Linear(b, c), torch.randn(9, a)
        wanted = second(first(x))
        one = build(first, second)
        if type(one) is not nn.Linear or not torch.allclose(one(x), wanted, atol=1e-5):
            return False
        if not torch.allclose(second(first(x)), wanted):
            return False
    return True


def _copies(build) -> bool:
    for channels in (1, 2, 6, 9):
        layer = build(channels)
        x = torch.rand(3, channels, 7, 8)
        convolutions = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
        sizes = [m.kernel_size for m in convolutions]
        if sizes != [(3, 3)] or convolutions[0].bias is not None:
            return False
        if sum(p.numel() for p in layer.parameters()) != 9 * channels**2:
            return False
        if not torch.allclose(layer(x), x) or bool((layer(-x) != 0).any()):
            return False
    return True


def _reports(function) -> bool:
    for seed in range(8):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=seed % 2 == 0), nn.ReLU(), nn.Flatten(), nn.Linear(48, 7)
        )
        images, labels = torch.randn(6, 1, 6, 6), torch.randint(7, (6,))
        grads = torch.autograd.grad(
            F.cross_entropy(model(images), labels), [p for p in model.parameters() if p.ndim > 1]
        )
        wanted = [float(g.norm()) for g in grads]
        for _ in range(2):
            got = function(model, images, labels)
            same = isinstance(got, (list, tuple)) and all(type(g) is float for g in got)
            if not same or len(got) != len(wanted):
                return False
            if not all(abs(g - w) <= 1e-4 * w for g, w in zip(got, wanted)):
                return False
        if any(p.grad is not None and bool(p.grad.any()) for p in model.parameters()):
            return False
    return True


def _learns(function) -> bool:
    for seed in range(4):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3))
        start = [p.detach().clone() for p in model.parameters()]
        batches = [(torch.randn(7, 1, 3, 3), torch.randint(3, (7,))) for _ in range(5)]
        rates = [0.1 + random.Random(seed + i).random() for i in range(5)]
        got = function(model, batches, rates)
        ended = [p.detach().clone() for p in model.parameters()]
        for parameter, value in zip(model.parameters(), start):
            parameter.data.copy_(value)
        losses = _descend(model, batches, rates)
        if not isinstance(got, (list, tuple)) or len(got) != 5:
            return False
        if not all(type(g) is float and abs(g - w) < 1e-4 for g, w in zip(got, losses)):
            return False
        if not all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ended, model.parameters())):
            return False
    return True


def _descend(model, batches, rates) -> list[float]:
    losses = []
    for (images, labels), rate in zip(batches, rates):
        loss = F.cross_entropy(model(images), labels)
        grads = torch.autograd.grad(loss, [*model.parameters()])
        for parameter, grad in zip(model.parameters(), grads):
            parameter.data -= rate * grad
        losses.append(loss.item())
    return losses


def _runs_an_epoch(function) -> bool:
    for seed in range(4):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 4)).eval()
        other = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 4))
        other.load_state_dict(model.state_dict())
        train = [(2 + 3 * torch.randn(8, 1, 3, 3), torch.randint(4, (8,))) for _ in range(6)]
        val = [(2 + 3 * torch.randn(n, 1, 3, 3), torch.randint(4, (n,))) for n in (30, 5, 11)]
        rates = [0.3 / (1 + step) for step in range(6)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        got = function(model, optimizer, train, val, lambda step: 0.3 / (1 + step))
        losses = _descend(other.train(), train, rates)
        other.eval()
        right = [bool(r) for x, y in val for r in other(x).argmax(1) == y]
        if not isinstance(got, tuple) or len(got) != 2 or len(got[0]) != 6:
            return False
        if not all(type(g) is float and abs(g - w) < 1e-3 for g, w in zip(got[0], losses)):
            return False
        if type(got[1]) is not float or abs(got[1] - sum(right) / len(right)) > 1e-6:
            return False
        if not all(
            torch.allclose(a, b, atol=1e-3) for a, b in zip(model.parameters(), other.parameters())
        ):
            return False
    return True


# -- behavior: what an answer does in fresh cases, to be held against what another one does


def _renames(function) -> list:
    """Names that begin with a wrapper's prefix and may hold it, and the norm's name, again."""
    draw, found = random.Random(8), []
    parts = ("conv", "layer", "norm.1", "submodule", "head", "block.norm.1", "features.module")
    for size in range(1, 6):
        names = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias", "running_var")]
        names += ["norm.1.num_batches_tracked", "block.norm.1.num_batches_tracked"]
        state = {
            f"module.{name}": torch.tensor(float(at))
            for at, name in enumerate(draw.sample(names, 3 * size))
        }
        got = function(dict(state))
        found.append(
            [
                (name, value, any(value is v for v in state.values()))
                for name, value in sorted(got.items())
            ]
        )
    return found


def _trains_a_head(function) -> list:
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        net = nn.Sequential()
        net.add_module("features", nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Tanh()))
        net.add_module("flat", nn.Flatten())
        net.add_module("head", nn.Sequential(nn.BatchNorm1d(27), nn.ReLU(), nn.Linear(27, 4)))
        images, labels = 3 + 2 * torch.randn(9, 1, 4, 4), torch.randint(4, (9,))
        function(net, images, labels, seed + 1)
        found.append([value.clone() for value in net.state_dict().values()])
    return found


def _audits(function) -> list:
    """Networks of one road, no two alike, on images that are no squares."""
    draw, found = random.Random(9), []
    for _ in range(12):
        before, layers = draw.randint(1, 4), []
        shape = (before, draw.randint(24, 30), draw.randint(16, 22))
        for _ in range(draw.randint(1, 3)):
            after, kernel = draw.randint(1, 6), (draw.choice((1, 3, 5)), draw.choice((1, 3)))
            layers += [nn.Conv2d(before, after, kernel, draw.choice((1, 2)))]
            layers += [nn.ReLU()] * draw.randint(0, 1) + [nn.BatchNorm2d(after)]
            before = after
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 3)]
        found.append(tuple(function(nn.Sequential(*layers), shape)))
    return found


def _times_a_device(function) -> list:
    """Devices whose calls take other times, all queued and cold or not."""
    draw, found = random.Random(10), []
    for _ in range(40):
        turns, queued = draw.sample(range(1, 400), 5), draw.choice((0, 900))
        device = Device(turns, draw.choice((None, 700)), queued, draw.choice((0.0, 0.25)))
        found.append(float(function(device.call, device.wait, device.clock)))
    return found


def _resumes(checkpoint) -> list:
    """Trainings with other optimizers and layers, cut after one epoch or three, to their ends."""
    found = []
    for cut, make in (
        (0, lambda net: torch.optim.Adam(net.parameters(), lr=0.05)),
        (2, lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5)),
    ):

        def begin():
            torch.manual_seed(cut)
            convs = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)
            net = nn.Sequential(*convs, nn.Flatten(), nn.Linear(16, 3))
            return net, make(net)

        torch.manual_seed(cut + 1)
        images, labels = 1 + torch.randn(8, 1, 4, 4), torch.arange(8) % 3
        net, optimizer = begin()
        with TemporaryDirectory() as folder:
            for epoch in range(cut + 1):
                _epoch(net, optimizer, images, labels)
                checkpoint(f"{folder}/file").save(net, optimizer, epoch)
            again, fresh = begin()
            torch.rand(5)
            start = checkpoint(f"{folder}/file").resume(again, fresh)
        for _ in range(start, cut + 3):
            _epoch(again, fresh, images, labels)
        found.append((start, [value.clone() for value in again.state_dict().values()]))
    return found


def _epoch(net, optimizer, images, labels) -> None:
    net.train()
    optimizer.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()


BEHAVIOR = {
    "rename": _renames,
    "freeze": _trains_a_head,
    "audit": _audits,
    "clock": _times_a_device,
    "resume": _resumes,
}


# -- fresh cases of functions, wider than those the judge draws


def _ties(draw):
    images, classes = draw.randint(1, 9), draw.randint(1, 8)
    levels = draw.randint(1, 5)
    scores = [[draw.randint(-levels, levels) / 2 for _ in range(classes)] for _ in range(images)]
    labels = torch.tensor([draw.randrange(classes) for _ in range(images)])
    return torch.tensor(scores), labels, draw.randint(1, classes)


def _maps(draw):
    channels, classes = draw.randint(1, 7), draw.randint(1, 6)
    maps = torch.tensor([draw.gauss(0, 2) for _ in range(channels * 12)]).view(channels, 3, 4)
    weight = torch.tensor([draw.gauss(0, 2) for _ in range(channels * classes)])
    return maps, weight.view(classes, channels), draw.randrange(classes)


def _photos(draw):
    height, width = draw.randint(1, 9), draw.randint(1, 9)
    values = [draw.choice((0, 255, draw.randrange(256))) for _ in range(height * width * 3)]
    return (torch.tensor(values, dtype=torch.uint8).view(height, width, 3),)


WIDER = {"ties": _ties, "cam": _maps, "prepare": _photos}

FUNCTIONS = {
    "halve": _halves,
    "sixteen": _is_vgg16,
    "layers": _makes_layers,
    "collapse": _collapses,
    "copying": _copies,
    "all_gone": _reports,
    "loop": _learns,
    "epoch": _runs_an_epoch,
}
