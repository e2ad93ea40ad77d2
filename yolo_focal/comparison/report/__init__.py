"""What a comparison has found: its analysis, its verdicts in words, its plots, and the report."""

__all__ = ["analysis", "i18n", "layers", "model_cost", "over_sets", "page", "plots", "report", "verdicts"]
