"""One run, in a process of its own: training, resuming, recording, measuring."""

__all__ = ["ablation", "accumulation", "ddp", "recorder", "resume", "run", "timing", "train", "ultralytics_trainer"]
