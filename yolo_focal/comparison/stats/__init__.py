"""Statistics of scores: over seeds, over images, over several models."""

__all__ = [
    "alpha_spending",
    "ap_by_size",
    "average_precision",
    "bootstrap",
    "holm",
    "layer_share",
    "paired_t",
    "power",
    "starts",
]
