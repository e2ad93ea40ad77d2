"""What a comparison over data sets has found: its analysis, its verdicts in words, its tables, plots and report."""

__all__ = ["analysis", "forest", "report", "tables", "words"]
