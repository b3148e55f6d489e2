"""What a forward or backward pass shows, and which images a model cannot tell apart.

Each function works on a copy of the model, so the caller's keeps its mode, gradients, buffers,
hooks and device. torch's global random numbers are not used.
"""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "gradients": "ProbeError activations effective_receptive_field erf_width gradient_norms "
        "loss_surface support",
        "walk": "Walk level_set_walk",
    },
)
