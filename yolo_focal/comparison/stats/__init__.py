"""Statistics of scores: over seeds, over images, over several models."""

__all__ = [
    "alpha_spending",
    "ap_by_size",
    "average_precision",
    "bootstrap",
    "holm",
    "layer_share",
    "over_sets",
    "paired_t",
    "power",
    "starts",
]
