"""Exercises of chapter 04, AlexNet."""

from __future__ import annotations

import torch

from cnnlab.course.exercises.ch04_answers import (
    Head,
    TwoTowers,
    _along_the_batch,
    _AlwaysOn,
    _Crossed,
    _error_not_accuracy,
    _HalvedOnTop,
    _highest_only,
    _in_any_row,
    _labels,
    _LeftTwice,
    _logits,
    _more,
    _NeverOn,
    _observe_head,
    _observe_mixing,
    _observe_towers,
    _OneDenseLayer,
    _OnlyInEval,
    _OnlyOneTower,
    _ties_count_as_right,
    _values_not_indices,
    top_k,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

exercises = Exercises(
    Exercise(
        "fc6",
        "Weights of fc6 for larger images",
        "compute",
        5,
        51_380_224,
        mistakes=(
            Mistake(
                37_748_736,
                "That is the 6 x 6 map that 224 x 224 gives. Follow 256 through the layers.",
            ),
            Mistake(
                67_108_864,
                "That is an 8 x 8 map: 256 divided by the strides, 32. But each "
                "layer also loses its border. Use output_size four times.",
            ),
            Mistake(51_384_320, "Right map, but with bias: 4,096 too many."),
            Mistake(
                12_544,
                "That is how many values go in. Each of 4,096 units has a weight for each of them.",
            ),
        ),
        hints=(
            "conv1: output_size(256, 11, stride=4, padding=2).",
            "Then three times output_size(size, 3, stride=2): the other convolutions keep the "
            "size.",
            "side * side * 256 channels, each to 4,096 units.",
        ),
        note="63, 31, 15, 7: a 7 x 7 map. A fully connected layer fixes the size of the image; "
        "that is why torchvision pools to 6 x 6 first.",
        working="7 * 7 * 256 * 4096",
    ),
    Exercise(
        "top_k",
        "Top-1, top-5, top-k",
        "implement",
        8,
        top_k,
        cases=(
            (_logits, _labels, 1),
            (_logits, _labels, 3),
            (_logits, _labels, 8),
            (torch.zeros(5, 5), torch.arange(5), 2),
        ),
        more=_more,
        mistakes=(
            Mistake(_error_not_accuracy, "That is the error. Asked for: the share that is right."),
            Mistake(_highest_only, "That is top-1, whatever k. Look at the k highest logits."),
            Mistake(
                _values_not_indices,
                "You compare logits with labels. topk gives values and "
                "indices: the classes are the indices.",
            ),
            Mistake(
                _in_any_row,
                "You ask whether a label is among the best of *any* image. "
                "Compare each label with the best of its own row.",
            ),
            Mistake(
                _ties_count_as_right,
                "Nearly: with all logits equal nothing is above the truth, so a network that says "
                "nothing would be always right. Take exactly k classes, with topk.",
            ),
            Mistake(
                _along_the_batch,
                "You took the k highest along the batch. Logits are (B, classes): use dim=1.",
            ),
        ),
        hints=(
            "logits.topk(k, dim=1).indices has shape (B, k).",
            "labels[:, None] has shape (B, 1) and can be compared with it.",
            "any(dim=1) says for each image whether one of the k was right.",
        ),
        note="Top-k counts an image as right when the truth is among its k highest logits. For "
        "k = number of classes it is always 1.",
    ),
    Exercise(
        "towers",
        "A layer with two towers",
        "implement",
        6,
        TwoTowers,
        observe=_observe_towers,
        mistakes=(
            Mistake(
                _LeftTwice,
                "One tower does both halves: the other is never called. Half of the parameters "
                "never take part and get no gradient.",
            ),
            Mistake(
                _Crossed,
                "Each tower has its own half now, but they are glued together in the wrong order: "
                "the first half of the output comes from the second half of the input.",
            ),
            Mistake(
                _OneDenseLayer,
                "That sees everything, for twice the weights: the cut is gone. Keep two towers.",
            ),
            Mistake(
                _OnlyOneTower,
                "Consistent, but that is one set of kernels shared by both "
                "halves: half of the parameters are gone.",
            ),
        ),
        hints=(
            "In __init__ two layers: nn.Conv2d(before // 2, after // 2, kernel, "
            "padding=kernel // 2), each assigned to self.",
            "In forward: a, b = x.chunk(2, dim=1).",
            "torch.cat([self.left(a), self.right(b)], dim=1).",
        ),
        note="It is groups=2, written by hand. A tower that is built but not called would show in "
        "no shape and in no count: only its missing gradient tells.",
    ),
    Exercise(
        "head",
        "A network that changes its mind",
        "spot the bug",
        6,
        Head,
        observe=_observe_head,
        mistakes=(
            Mistake(
                _AlwaysOn,
                "Still active after model.eval(). F.dropout knows nothing of the "
                "module's mode (its `training` is True unless you say otherwise), "
                "and an nn.Dropout made inside forward is always in train mode.",
            ),
            Mistake(
                _NeverOn,
                "Now it is never active, not even in training. Switch it off in eval mode only.",
            ),
            Mistake(_OnlyInEval, "The wrong way round: it now drops in eval mode only."),
            Mistake(
                _HalvedOnTop,
                "Off in eval mode, but the outputs are halved on top: that belongs to the paper's "
                "form. PyTorch has doubled the survivors in training already.",
            ),
        ),
        hints=(
            "Call the head twice on the same features after .eval().",
            "Compare nn.Dropout with F.dropout: how does each know the mode?",
            "F.dropout(x, 0.5, training=self.training)",
        ),
        note="nn.Dropout follows train() and eval(); F.dropout needs training=self.training.",
    ),
    Exercise(
        "mixing",
        "Cheap, and fully mixed",
        "design",
        8,
        [(3, 64, 64), (1, 64, 1)],
        observe=_observe_mixing,
        mistakes=(
            Mistake(
                [(3, 64, 1)],
                "Everything is mixed, for too many weights: a dense 3x3 from 64 to 64 alone "
                "has 36,864. Let one layer see far, in many groups, and another one mix.",
            ),
            Mistake(
                [(3, 64, 64)],
                "Cheap and far-sighted, but not everything is mixed: an output of a grouped layer "
                "sees its own group only. Add a layer that sees all groups.",
            ),
            Mistake(
                [(3, 64, 8), (3, 64, 8)],
                "Not everything is mixed, and it is over budget as well. Layers in the same groups "
                "mix no more than one does: let one see far, with more groups, and one see all.",
            ),
            Mistake([(1, 64, 1)], "It mixes, but it sees too little: a 1x1 sees no neighbor."),
        ),
        hints=(
            "A 3x3 need not mix, and a layer that mixes need not be 3x3.",
            "What does a depthwise 3x3 cost: (3, 64, 64)?",
            "64 x 64 weights for a 1x1 that sees all groups leave 1,904 for the 3x3.",
        ),
        note="Depthwise 3x3, then a dense 1x1: 576 + 4,096 = 4,672 weights instead of 36,864. "
        "MobileNet is built of such pairs.",
    ),
)
