"""Answers to the exercises of chapter 12, right and wrong, and how they are looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.built import must_be_function
from cnnlab.course.exercises.sandbox import called

# -- ties: between which two numbers top-k lies


def between(scores, labels, k):
    truth = scores.gather(1, labels[:, None])
    above = (scores > truth).sum(dim=1)
    level = (scores >= truth).sum(dim=1) - 1  # without the truth itself
    return (level < k).float().mean().item(), (above < k).float().mean().item()


def luck_only(scores, labels, k):
    lucky = between(scores, labels, k)[1]
    return lucky, lucky


def truth_against_itself(scores, labels, k):
    truth = scores.gather(1, labels[:, None])
    return ((scores >= truth).sum(dim=1) < k).float().mean().item(), between(scores, labels, k)[1]


def turned(scores, labels, k):
    return between(scores, labels, k)[::-1]


def as_topk_finds_them(scores, labels, k):
    share = (scores.topk(k).indices == labels[:, None]).any(dim=1).float().mean().item()
    return share, share


SCORES = torch.tensor([[3.0, 1, 2, 0], [1, 1, 1, 0], [0, 2, 2, 5], [4, 4, 4, 4]])
LABELS = torch.tensor([0, 0, 2, 2])


def more_ties(draw):
    scale = draw.choice((1.0, 1e3, 1e-4))  # level is equal, not nearly equal
    scores = torch.tensor([[scale * draw.randint(0, 3) for _ in range(5)] for _ in range(6)])
    return scores, torch.tensor([draw.randrange(5) for _ in range(6)]), draw.randint(1, 4)


# -- rename: a published file's names into the model's


def renamed(state):
    return {
        key.removeprefix("module.").replace("norm.1.", "norm1."): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def prefix_cut_everywhere(state):
    return {key.replace("module.", ""): value for key, value in renamed_half(state).items()}


def submodule_cut(state):
    return {key.replace("module.", ""): value for key, value in renamed(state).items()}


def stripped(state):
    return {key.lstrip("module."): value for key, value in renamed(state).items()}


def renamed_half(state):
    return {key.replace("norm.1.", "norm1."): value for key, value in state.items()}


def counters_kept(state):
    return {
        key.removeprefix("module.").replace("norm.1.", "norm1."): value
        for key, value in state.items()
    }


def norms_dropped(state):
    return {key: value for key, value in renamed(state).items() if "norm" not in key}


class _Published(nn.Module):
    """Whose file is to be renamed. What must stay: a part called submodule, one that begins with a
    letter of `module`, one called norm.10, and layers.1, whose number is no norm's."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(1, 2, 3)
        self.norm1 = nn.BatchNorm2d(2, track_running_stats=True)
        self.submodule = nn.Linear(2, 3)
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.norm = nn.ModuleDict({"10": nn.BatchNorm2d(2)})
        self.block = nn.Module()
        self.block.norm1 = nn.BatchNorm2d(2)
        self.scale = nn.Parameter(torch.tensor(2.0))


def observe_names(answer):
    must_be_function(answer)
    model = _Published()
    file = {k: torch.arange(v.numel()).float().view_as(v) for k, v in model.state_dict().items()}
    values = {key: v for key, v in file.items() if not key.endswith("tracked")}
    old = {f"module.{k.replace('norm1.', 'norm.1.')}": v for k, v in file.items()}
    found = called(answer, renamed, old)
    if not isinstance(found, dict):
        raise ValueError("return a dict {name: tensor}")
    equal = all(found[key] is value for key, value in values.items() if key in found)
    return {
        "missing": ", ".join(sorted({*values} - {*found})) or "nothing",
        "left over": ", ".join(sorted(str(key) for key in {*found} - {*values})) or "nothing",
        "the tensors are those of the file": bool(equal),
    }


# -- cam


def cam(maps, weight, label):
    return (weight[label][:, None, None] * maps).sum(dim=0)


def without_weights(maps, weight, label):
    return maps.sum(dim=0)


def mean_of_maps(maps, weight, label):
    return cam(maps, weight, label) / len(maps)


def only_positive(maps, weight, label):
    return cam(maps, weight, label).relu()


def all_classes(maps, weight, label):
    return (weight.sum(dim=0)[:, None, None] * maps).sum(dim=0)


MAPS = torch.tensor([[[1.0, 0], [2, 0]], [[0, 3], [0, 1]], [[1, 1], [0, 0]]])
WEIGHT = torch.tensor([[1.0, 0, 2], [-1, 1, 0.5]])


def more_maps(draw):
    channels, height, width = draw.randint(1, 4), draw.randint(1, 3), draw.randint(2, 4)
    numbers = torch.tensor([draw.gauss(0, 1) for _ in range(channels * (height * width + 3))])
    maps, weight = numbers[: -3 * channels], numbers[-3 * channels :]
    return maps.view(channels, height, width), weight.view(3, channels), draw.randrange(3)


# -- freeze: a head is trained, everything else stays


def train_head(net, images, labels, steps):
    net.train()
    net.features.eval()
    net.features.requires_grad_(False)
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _steps(net, parameters, images, labels, steps):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def norms_forgotten(net, images, labels, steps):
    net.train()
    net.features.requires_grad_(False)
    _steps(net, net.parameters(), images, labels, steps)


def all_in_eval(net, images, labels, steps):
    net.eval()
    net.features.requires_grad_(False)
    _steps(net, net.head.parameters(), images, labels, steps)


def nothing_frozen(net, images, labels, steps):
    net.train()
    _steps(net, net.parameters(), images, labels, steps)


def weights_move(net, images, labels, steps):
    net.train()
    net.features.eval()
    _steps(net, net.parameters(), images, labels, steps)


class _Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))

    def forward(self, x):
        return self.head(self.features(x))


def observe_frozen(answer):
    must_be_function(answer)
    return _moved(answer, 3) | {f"{name}, in 5 steps": v for name, v in _moved(answer, 5).items()}


def _moved(answer, steps):
    torch.manual_seed(steps)
    net, images, labels = _Frozen(), 2 + torch.randn(12, 1, 4, 4), torch.randint(3, (12,))
    net.train(steps == 3)  # and once as after an evaluation
    before = {key: value.clone() for key, value in net.state_dict().items()}
    called(answer, train_head, net, images, labels, steps)
    after = net.state_dict()
    moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
    return {
        "moved in features": [key for key in moved if key.startswith("features")],
        "moved in head": [key for key in moved if key.startswith("head")],
        "the head's weights": torch.cat([p.detach().flatten() for p in net.head.parameters()]),
    }


# -- prepare: a photograph as the network was trained on it


def prepare(photo):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    image = photo.permute(2, 0, 1) / 255
    return ((image - mean) / std)[None]


def prepared_with_two_faults(photo):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    image = photo.reshape(3, photo.shape[0], photo.shape[1])
    return ((image - mean) / std)[None]


def reshaped(photo):
    return prepared_with_two_faults(photo / 255)


def not_scaled(photo):
    return prepare(photo * 255.0)


def blue_first(photo):
    return prepare(photo.flip(2))


def lying(photo):
    return prepare(photo.transpose(0, 1))


PHOTO = (torch.arange(4 * 5 * 3).view(4, 5, 3) * 4).to(torch.uint8)


def more_photos(draw):
    height, width = draw.randint(2, 5), draw.randint(2, 5)
    values = [draw.randrange(256) for _ in range(height * width * 3)]
    return (torch.tensor(values, dtype=torch.uint8).view(height, width, 3),)
