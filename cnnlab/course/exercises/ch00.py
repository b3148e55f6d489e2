"""Exercises of chapter 00, Start here."""

from __future__ import annotations

import torch
from torch import nn

from cnnlab.course.exercises.built import observe_cases
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake
from cnnlab.course.exercises.sandbox import output_of


def accuracy(scores, labels):
    """Share of rows whose largest score is at the label's place, as a float."""
    right = scores.argmax(dim=1) == labels  # one answer per row, True or False
    return right.float().mean().item()


def _one_for_all(scores, labels):
    return (scores.argmax() == labels).float().mean().item()


def _values(scores, labels):
    return (scores.max(dim=1).values == labels).float().mean().item()


def _count(scores, labels):
    return float((scores.argmax(dim=1) == labels).sum())


def _per_class(scores, labels):
    return (scores.argmax(dim=0) == labels).float().mean().item()


def _percent(scores, labels):
    return 100 * (scores.argmax(dim=1) == labels).float().mean().item()


class MyLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.pool = nn.AvgPool2d(2)  # no parameters: one will do for S2 and S4
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Linear(400, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, 10)

    def forward(self, x):  # (B, 1, 32, 32)
        x = self.pool(torch.tanh(self.c1(x)))  # (B, 6, 28, 28), (B, 6, 14, 14)
        x = self.pool(torch.tanh(self.c3(x)))  # (B, 16, 10, 10), (B, 16, 5, 5)
        x = torch.tanh(self.c5(x.flatten(1)))  # (B, 400), (B, 120)
        x = torch.tanh(self.f6(x))  # (B, 84)
        return self.output(x)  # (B, 10)


class _NoTanh(MyLeNet):
    def forward(self, x):
        x = self.pool(self.c3(self.pool(self.c1(x))))
        return self.output(self.f6(self.c5(x.flatten(1))))


class _TanhOnConvolutionsOnly(MyLeNet):
    def forward(self, x):
        x = self.pool(torch.tanh(self.c3(self.pool(torch.tanh(self.c1(x))))))
        return self.output(self.f6(self.c5(x.flatten(1))))


class _TanhAtTheEnd(MyLeNet):
    def forward(self, x):
        return torch.tanh(super().forward(x))


class _SoftmaxAtTheEnd(MyLeNet):
    def forward(self, x):
        return super().forward(x).softmax(1)


class _MaxPooling(MyLeNet):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)


class _PoolingFirst(MyLeNet):
    def forward(self, x):
        x = torch.tanh(self.pool(self.c1(x)))
        x = torch.tanh(self.pool(self.c3(x)))
        return self.output(torch.tanh(self.f6(torch.tanh(self.c5(x.flatten(1))))))


class _Relu(MyLeNet):
    def forward(self, x):
        x = self.pool(self.c1(x).relu())
        x = self.pool(self.c3(x).relu())
        return self.output(self.f6(self.c5(x.flatten(1)).relu()).relu())


class _C5AsConvolution(MyLeNet):
    """Right: a 5x5 window on a 5x5 map, as in the paper."""

    def __init__(self):
        super().__init__()
        self.c5 = nn.Conv2d(16, 120, 5)

    def forward(self, x):
        x = self.pool(torch.tanh(self.c3(self.pool(torch.tanh(self.c1(x))))))
        return self.output(torch.tanh(self.f6(torch.tanh(self.c5(x)).flatten(1))))


def _observe_lenet(answer):
    cases = ((), (2, 1, 32, 32)), ((), (1, 1, 32, 32))
    return observe_cases(answer, MyLeNet, cases, accept=(_C5AsConvolution,))


class Small(nn.Module):
    """LeNet's first stage and one linear layer: images (B, 1, 32, 32) to scores (B, 10)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 5)
        self.pool = nn.AvgPool2d(2)
        self.answer = nn.Linear(6 * 14 * 14, 10)

    def forward(self, x):
        x = self.pool(torch.tanh(self.conv(x)))  # (B, 6, 14, 14)
        return self.answer(x.flatten(1))  # keep the batch axis: (B, 1176) to (B, 10)


class _Flat(Small):
    def forward(self, x):
        x = self.pool(torch.tanh(self.conv(x)))
        return self.answer(x.flatten())


class _Widened(Small):
    def forward(self, x):
        x = self.pool(torch.tanh(self.conv(x)))
        return self.answer(x.flatten().view(-1, 6 * 14 * 14)).sum(0, keepdim=True)


def _shapes(model):
    model = model() if isinstance(model, type) else model
    seen = {}
    for count, images in ((1, "one image"), (3, "three images")):
        try:
            scores = output_of(model, torch.rand(count, 1, 32, 32))
        except RuntimeError as error:
            raise ValueError(f"{images} in, an error out: {error}") from None
        seen[f"{images} in, shape of the scores"] = tuple(scores.shape)
    seen["parameters"] = sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        images = torch.rand(3, 1, 32, 32)
        alone = torch.cat([model(image[None]) for image in images])
        together = model(images)
    seen["an image's scores do not depend on the others"] = (
        together.shape == alone.shape and torch.allclose(together, alone, atol=1e-5)
    )
    return seen


class _MaxPooled(Small):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)


class _WithoutTanh(Small):
    def forward(self, x):
        return self.answer(self.pool(self.conv(x)).flatten(1))


def _observe_batch(answer):
    return {
        **_shapes(answer),
        **observe_cases(answer, Small, (((), (3, 1, 32, 32)), ((), (1, 1, 32, 32)))),
    }


def _more(draw):
    images, classes = draw.randint(1, 6), draw.randint(2, 6)
    places = list(range(images * classes))
    draw.shuffle(places)  # no ties; some scores are whole numbers, as labels are
    scores = torch.tensor(places).reshape(images, classes) / 2
    return scores, torch.tensor([draw.randrange(classes) for _ in range(images)])


_SCORES = torch.tensor([[0.1, 2.0, 0.3], [1.5, 0.2, 0.1], [0.0, 0.1, 0.9], [0.2, 3.0, 0.1]])

exercises = Exercises(
    Exercise(
        "c3_weights",
        "Weights of a wider C3, without bias",
        "compute",
        3,
        4000,
        mistakes=(
            Mistake(4020, "That is with bias: 20 more, one for each filter."),
            Mistake(500, "That is 20 filters on a single map. Each filter of C3 reads all 8 maps."),
            Mistake(200, "That is one filter. There are 20."),
            Mistake(3000, "C1 gives 8 maps now, not 6, and each filter of C3 reads all of them."),
            Mistake(3200, "C3 has 20 filters now, not 16."),
            Mistake(
                2400,
                "That is C3 as it is in the table. The wider one reads 8 maps, not 6, "
                "and has 20 filters, not 16.",
            ),
            Mistake(
                400000, "Those are the MACs: each weight is used at 10 x 10 places. Count it once."
            ),
        ),
        hints=(
            "One filter of C3 reads 8 maps, a window of 5 x 5 in each.",
            "So one filter holds 8 * 5 * 5 numbers. How many filters are there?",
        ),
        working="20 * 8 * 5 * 5",
        note="Filters x input maps x height x width of the kernel; with bias, one more per filter.",
    ),
    Exercise(
        "lenet",
        "LeNet-5",
        "implement",
        8,
        MyLeNet,
        observe=_observe_lenet,
        mistakes=(
            Mistake(
                _NoTanh,
                "Parameters and shapes are right. But no layer is followed by its tanh, so all "
                "of it together is one linear layer.",
            ),
            Mistake(
                _TanhOnConvolutionsOnly,
                "Parameters and shapes are right. But C5 and F6 are not followed by tanh.",
            ),
            Mistake(
                _TanhAtTheEnd,
                "The output layer gives scores as they are: no tanh behind it.",
            ),
            Mistake(
                _SoftmaxAtTheEnd,
                "The network gives scores. The softmax is part of the loss, F.cross_entropy.",
            ),
            Mistake(_MaxPooling, "S2 and S4 take the mean of four values: nn.AvgPool2d(2)."),
            Mistake(_PoolingFirst, "tanh comes before the pooling: C1, tanh, S2; C3, tanh, S4."),
            Mistake(_Relu, "Right but for the activation: LeNet-5 has tanh, yours has ReLU."),
        ),
        hints=(
            "Two convolutions, a pooling, three linear layers, each assigned to self in __init__: "
            "self.c1 = nn.Conv2d(1, 6, 5), and so on.",
            "forward begins with x = self.pool(torch.tanh(self.c1(x))).",
            "16 maps of 5x5 are 400 numbers: x.flatten(1), then nn.Linear(400, 120).",
        ),
        note="61,706 parameters with bias. Parameters and shapes alone do not make a network: "
        "without tanh the same numbers would be one linear layer.",
    ),
    Exercise(
        "accuracy",
        "Accuracy, from scores and labels",
        "implement",
        5,
        accuracy,
        cases=(
            (_SCORES, torch.tensor([1, 0, 2, 0])),
            (_SCORES[:2], torch.tensor([2, 0])),
            (_SCORES[:3], torch.tensor([1, 1, 2])),
        ),
        more=_more,
        mistakes=(
            Mistake(_count, "You return how many are right. Divide by the number of images."),
            Mistake(
                _one_for_all,
                "argmax() without dim finds one place in the whole table. You want one per row: "
                "argmax(dim=1).",
            ),
            Mistake(
                _values,
                "You compare the highest scores with the labels. Compare the places where they "
                "stand: scores.argmax(dim=1), or .indices of scores.max(dim=1).",
            ),
            Mistake(_percent, "That is in percent. Return a share, 0 to 1."),
            Mistake(
                _per_class,
                "argmax went along the wrong axis: it found the best image for "
                "each class. One row is one image; use dim=1.",
            ),
        ),
        hints=(
            "scores.argmax(dim=1) gives the network's answer for each image.",
            "Comparing it with labels gives True and False; .float() makes them 1 and 0.",
            "The mean of those is the accuracy; .item() turns a tensor into a plain float.",
        ),
        note="Accuracy is the share of images whose highest score stands at the right class.",
    ),
    Exercise(
        "batch",
        "Works for one image, fails for three",
        "spot the bug",
        4,
        Small,
        observe=_observe_batch,
        mistakes=(
            Mistake(
                _Flat,
                "One image goes through, three do not. Write the shape behind each "
                "step of `forward`, for B = 3.",
            ),
            Mistake(_Widened, "Three images in, one row of scores out. Each needs its own row."),
            Mistake(
                _MaxPooled, "The batch is kept now, but the pooling was changed: it takes averages."
            ),
            Mistake(
                _WithoutTanh, "The batch is kept now, but the tanh behind the convolution is gone."
            ),
        ),
        hints=(
            "Read the error for three images: 3528 is 3 * 1176. Who made one long row of them?",
            "x.flatten() joins all axes, the batch too. x.flatten(1) starts at axis 1.",
        ),
        note="The first axis is the batch. Layers keep it; flatten(1) does, flatten() does not.",
    ),
)
