"""Code that a training runs after each batch: nothing may become infinite."""

CHECK = """
steps = 0


def check(trainer):
    global steps
    steps += 1
    assert trainer.loss.isfinite().all(), f"loss at step {steps}"
    for what, model in (("weights", trainer.model), ("EMA", trainer.ema.ema)):
        for name, tensor in model.state_dict().items():
            assert tensor.isfinite().all(), f"{what} at step {steps}: {name}"
"""
