"""What a comparison is of: its plan, models, data and settings, and the results that its runs have left."""

__all__ = [
    "ablation",
    "control",
    "dataset",
    "folds",
    "halving",
    "models",
    "packaged_models",
    "plan",
    "registered",
    "request",
    "results",
    "screened",
    "sets",
    "train_arguments",
    "unchanged",
]
