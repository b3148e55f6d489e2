"""Exercises of chapter 12, Pretrained networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

# -- ties: between which two numbers top-k lies


def between(scores, labels, k):
    truth = scores.gather(1, labels[:, None])
    above = (scores > truth).sum(dim=1)
    level = (scores >= truth).sum(dim=1) - 1  # without the truth itself
    return (level < k).float().mean().item(), (above < k).float().mean().item()


def _luck_only(scores, labels, k):
    lucky = between(scores, labels, k)[1]
    return lucky, lucky


def _truth_against_itself(scores, labels, k):
    truth = scores.gather(1, labels[:, None])
    return ((scores >= truth).sum(dim=1) < k).float().mean().item(), between(scores, labels, k)[1]


def _turned(scores, labels, k):
    return between(scores, labels, k)[::-1]


def _as_topk_finds_them(scores, labels, k):
    share = (scores.topk(k).indices == labels[:, None]).any(dim=1).float().mean().item()
    return share, share


_SCORES = torch.tensor([[3.0, 1, 2, 0], [1, 1, 1, 0], [0, 2, 2, 5], [4, 4, 4, 4]])
_LABELS = torch.tensor([0, 0, 2, 2])

# -- rename: a published file's names into the model's


def renamed(state):
    return {
        key.removeprefix("module.").replace("norm.1.", "norm1."): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def _prefix_cut_everywhere(state):
    return {key.replace("module.", ""): value for key, value in renamed_half(state).items()}


def renamed_half(state):
    return {key.replace("norm.1.", "norm1."): value for key, value in state.items()}


def _counters_kept(state):
    return {
        key.removeprefix("module.").replace("norm.1.", "norm1."): value
        for key, value in state.items()
    }


def _norms_dropped(state):
    return {key: value for key, value in renamed(state).items() if "norm" not in key}


class _Published(nn.Module):
    """Whose file is to be renamed; a part of it is called submodule, which must stay."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm1 = nn.BatchNorm2d(2, track_running_stats=True)
        self.submodule = nn.Linear(2, 3)
        del self.norm1._buffers["num_batches_tracked"]
        self.norm1.num_batches_tracked = None


def _observe_names(answer):
    if not callable(answer) or isinstance(answer, nn.Module):
        raise ValueError("give the function itself, without calling it")
    model = _Published()
    values = {key: torch.arange(v.numel()).float().view_as(v) for key, v in _state(model).items()}
    old = {f"module.{k.replace('norm1.', 'norm.1.')}": v for k, v in values.items()}
    old["module.norm.1.num_batches_tracked"] = torch.tensor(7)
    found = answer(old)
    if not isinstance(found, dict):
        raise ValueError("return a dict {name: tensor}")
    equal = all(found[key] is value for key, value in values.items() if key in found)
    return {
        "missing": sorted(set(values) - set(found)),
        "left over": sorted(set(found) - set(values)),
        "the tensors are those of the file": bool(equal),
    }


def _state(model):
    return {k: v for k, v in model.state_dict().items() if not k.endswith("tracked")}


# -- cam


def cam(maps, weight, label):
    return (weight[label][:, None, None] * maps).sum(dim=0)


def _without_weights(maps, weight, label):
    return maps.sum(dim=0)


def _mean_of_maps(maps, weight, label):
    return cam(maps, weight, label) / len(maps)


def _only_positive(maps, weight, label):
    return cam(maps, weight, label).relu()


def _all_classes(maps, weight, label):
    return (weight.sum(dim=0)[:, None, None] * maps).sum(dim=0)


_MAPS = torch.tensor([[[1.0, 0], [2, 0]], [[0, 3], [0, 1]], [[1, 1], [0, 0]]])
_WEIGHT = torch.tensor([[1.0, 0, 2], [-1, 1, 0.5]])

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


def norms_forgotten(net, images, labels, steps):
    net.features.requires_grad_(False)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _all_in_eval(net, images, labels, steps):
    for module in net.modules():
        module.train = lambda mode=True, module=module: module
    net.eval = lambda: net
    nn.Module.train(net, False)
    for module in net.modules():
        module.training = False
    train_head(net, images, labels, steps)


def _nothing_frozen(net, images, labels, steps):
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class _Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))

    def forward(self, x):
        return self.head(self.features(x))


def _observe_frozen(answer):
    if not callable(answer) or isinstance(answer, nn.Module):
        raise ValueError("give the function itself, without calling it")
    torch.manual_seed(0)
    net, images, labels = _Frozen(), 2 + torch.randn(12, 1, 4, 4), torch.randint(3, (12,))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    answer(net, images, labels, 3)
    after = net.state_dict()
    moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
    return {
        "moved in features": [key for key in moved if key.startswith("features")],
        "moved in head": [key for key in moved if key.startswith("head")],
        "the head's weights": after["head.1.weight"].clone(),
    }


# -- prepare: a photograph as the network was trained on it

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


def _reshaped(photo):
    return prepared_with_two_faults(photo / 255)


def _not_scaled(photo):
    return prepare(photo * 255.0)


def _blue_first(photo):
    return prepare(photo.flip(2))


def _lying(photo):
    return prepare(photo.transpose(0, 1))


_PHOTO = (torch.arange(4 * 5 * 3).view(4, 5, 3) * 4).to(torch.uint8)

exercises = Exercises(
    Exercise(
        "blind",
        "Directions without a name",
        "compute",
        2,
        3062,
        mistakes=(
            Mistake(1014, "Three channels: the image has 3 x 32 x 32 numbers."),
            Mistake(10, "That is how many directions the scores can see, at most."),
            Mistake(3072, "All directions there are. Ten scores see up to ten of them."),
        ),
        hints=(
            "How many numbers go in, how many come out?",
            "The Jacobian has 10 rows and 3 * 32 * 32 columns: its rank is at most 10.",
        ),
        note="Numbers in minus numbers out: at least so many directions change no score.",
        working="3 * 32 * 32 - 10",
    ),
    Exercise(
        "ties",
        "Top-k, lucky and unlucky",
        "implement",
        5,
        between,
        cases=tuple((_SCORES, _LABELS, k) for k in (1, 2, 3)),
        mistakes=(
            Mistake(_luck_only, "Both are the lucky number. Unlucky: all that are level go first."),
            Mistake(
                _truth_against_itself,
                "The truth is level with itself, and you count it among those before it.",
            ),
            Mistake(_turned, "The unlucky share is the lower one and comes first."),
            Mistake(
                _as_topk_finds_them,
                "topk breaks ties by an order of its own: one number somewhere between the two.",
            ),
        ),
        hints=(
            "The truth's score: scores.gather(1, labels[:, None]), of shape (B, 1).",
            "Lucky: fewer than k scores are above it. Unlucky: fewer than k *others* are above or "
            "level.",
        ),
        note="A network that gives every class the same score has a top-1 between 0 and 1. Report "
        "the unlucky number, or say how ties are broken.",
    ),
    Exercise(
        "rename",
        "Names of another time",
        "implement",
        4,
        renamed,
        observe=_observe_names,
        mistakes=(
            Mistake(
                renamed_half, "Nearly nothing fits yet: each name still begins with `module.`."
            ),
            Mistake(_counters_kept, "The counter num_batches_tracked is left over: leave it out."),
            Mistake(
                _norms_dropped,
                "The batch norm's tensors are gone. A network without its statistics is another.",
            ),
            Mistake(
                _prefix_cut_everywhere,
                "You cut `module.` out of the middle of a name, too, and the counter is still "
                "there. Only the beginning: key.removeprefix(...).",
            ),
        ),
        hints=(
            'key.removeprefix("module.") cuts the beginning only.',
            'Then .replace("norm.1.", "norm1."), and leave out what ends in num_batches_tracked.',
        ),
        note="Rename by rule, load with strict=True: then a forgotten tensor is an error and not a "
        "random number in the middle of a network.",
    ),
    Exercise(
        "cam",
        "Where is it? A class activation map",
        "implement",
        3,
        cam,
        cases=((_MAPS, _WEIGHT, 0), (_MAPS, _WEIGHT, 1)),
        mistakes=(
            Mistake(_without_weights, "Each map counts as much as the class's weight for it."),
            Mistake(_mean_of_maps, "A sum over the maps, not a mean."),
            Mistake(
                _only_positive, "Evidence against the class is negative: keep it, without ReLU."
            ),
            Mistake(_all_classes, "Only the row of the weights that belongs to the class."),
        ),
        hints=(
            "weight[label] has one number per map.",
            "(weight[label][:, None, None] * maps).sum(dim=0)",
        ),
        note="The mean of this map is the class's score without its bias: that is why it shows "
        "where the score comes from.",
    ),
    Exercise(
        "freeze",
        "Frozen, and yet it moves",
        "spot the bug",
        4,
        train_head,
        observe=_observe_frozen,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                norms_forgotten,
                "No weight of the features moved, but their batch norm did: in train mode it "
                "updates its running mean and variance, gradient or not. net.features.eval() "
                "after net.train().",
            ),
            Mistake(
                _nothing_frozen,
                "The features learn, too. Freeze them, or give the optimizer the head alone.",
            ),
            Mistake(
                _all_in_eval,
                "Now the head's own batch norm is in eval mode, too. Only the features rest.",
            ),
        ),
        hints=(
            "requires_grad_(False) stops gradients. Which numbers change without one?",
            "Batch norm's running_mean and running_var are buffers: train mode moves them.",
            "net.train() first, then net.features.eval().",
        ),
        note="Freezing is two things: no gradient, and eval mode for what keeps statistics.",
    ),
    Exercise(
        "prepare",
        "A photograph, wrongly served",
        "spot the bug",
        3,
        prepare,
        cases=((_PHOTO,),),
        tolerance=1e-4,
        mistakes=(
            Mistake(
                prepared_with_two_faults,
                "Both faults are still there. reshape does not turn axes, and the numbers run "
                "from 0 to 255 where mean and std expect 0 to 1.",
            ),
            Mistake(_reshaped, "reshape reads the numbers in their old order: use permute."),
            Mistake(_not_scaled, "mean and std are of values from 0 to 1: divide by 255."),
            Mistake(_blue_first, "You turned the colors round: red comes first."),
            Mistake(_lying, "Rows and columns are exchanged: permute(2, 0, 1)."),
        ),
        hints=(
            "(H, W, 3) becomes (3, H, W) by permute(2, 0, 1).",
            "Divide by 255 before mean and std.",
        ),
        note="Nothing raises when an image is served wrongly; only the answers get worse.",
    ),
)
