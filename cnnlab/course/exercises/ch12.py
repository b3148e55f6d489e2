"""Exercises of chapter 12, Pretrained networks."""

from __future__ import annotations

from cnnlab.course.exercises.ch12_answers import (
    LABELS,
    MAPS,
    PHOTO,
    SCORES,
    WEIGHT,
    all_classes,
    all_in_eval,
    as_topk_finds_them,
    between,
    blue_first,
    cam,
    counters_kept,
    luck_only,
    lying,
    mean_of_maps,
    more_maps,
    more_photos,
    more_ties,
    norms_dropped,
    norms_forgotten,
    not_scaled,
    nothing_frozen,
    observe_frozen,
    observe_names,
    only_positive,
    prefix_cut_everywhere,
    prepare,
    prepared_with_two_faults,
    renamed,
    renamed_half,
    reshaped,
    stripped,
    submodule_cut,
    train_head,
    truth_against_itself,
    turned,
    weights_move,
    without_weights,
)
from cnnlab.course.exercises.exercise import Exercise, Exercises, Mistake

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
        cases=tuple((SCORES, LABELS, k) for k in (1, 2, 3)),
        more=more_ties,
        mistakes=(
            Mistake(luck_only, "Both are the lucky number. Unlucky: all that are level go first."),
            Mistake(
                truth_against_itself,
                "The truth is level with itself, and you count it among those before it.",
            ),
            Mistake(turned, "The unlucky share is the lower one and comes first."),
            Mistake(
                as_topk_finds_them,
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
        observe=observe_names,
        mistakes=(
            Mistake(
                renamed_half, "Nearly nothing fits yet: each name still begins with `module.`."
            ),
            Mistake(counters_kept, "The counter num_batches_tracked is left over: leave it out."),
            Mistake(
                norms_dropped,
                "The batch norm's tensors are gone. A network without its statistics is another.",
            ),
            Mistake(
                prefix_cut_everywhere,
                "You cut `module.` out of the middle of a name, too, and the counter is still "
                "there. Only the beginning: key.removeprefix(...).",
            ),
            Mistake(
                submodule_cut,
                "You cut `module.` out of the middle of a name, too. Only the beginning: "
                "key.removeprefix(...).",
            ),
            Mistake(
                stripped,
                "lstrip cuts any of the letters it is given, as long as it finds one: a name that "
                "begins with e or o loses more than `module.`. removeprefix cuts the word.",
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
        cases=((MAPS, WEIGHT, 0), (MAPS, WEIGHT, 1)),
        more=more_maps,
        mistakes=(
            Mistake(without_weights, "Each map counts as much as the class's weight for it."),
            Mistake(mean_of_maps, "A sum over the maps, not a mean."),
            Mistake(
                only_positive, "Evidence against the class is negative: keep it, without ReLU."
            ),
            Mistake(all_classes, "Only the row of the weights that belongs to the class."),
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
        observe=observe_frozen,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                norms_forgotten,
                "No weight of the features moved, yet something in them did. Which of their "
                "numbers change without a gradient?",
            ),
            Mistake(
                nothing_frozen,
                "The features learn, too. Freeze them, or give the optimizer the head alone.",
            ),
            Mistake(
                weights_move,
                "Their batch norm rests, but their weights learn. Freeze them, or give the "
                "optimizer the head alone.",
            ),
            Mistake(
                all_in_eval,
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
        cases=((PHOTO,),),
        more=more_photos,
        tolerance=1e-4,
        mistakes=(
            Mistake(
                prepared_with_two_faults,
                "Two faults are still there. Look at one pixel: do its three numbers stay "
                "together? And which range do mean and std expect?",
            ),
            Mistake(reshaped, "reshape reads the numbers in their old order: use permute."),
            Mistake(not_scaled, "mean and std are of values from 0 to 1: divide by 255."),
            Mistake(blue_first, "You turned the colors round: red comes first."),
            Mistake(lying, "Rows and columns are exchanged: permute(2, 0, 1)."),
        ),
        hints=(
            "(H, W, 3) becomes (3, H, W) by permute(2, 0, 1).",
            "Divide by 255 before mean and std.",
        ),
        note="Nothing raises when an image is served wrongly; only the answers get worse.",
    ),
)
