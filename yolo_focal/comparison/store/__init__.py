"""What a comparison's folder holds, and how far its runs are."""

__all__ = ["files", "lock", "progress", "results_csv", "run_folder", "run_result", "times", "validations"]
