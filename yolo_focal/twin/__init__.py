"""Focal twins of existing models: the same model with FocalModulation in the place of another module."""

__all__ = ["backbone", "checkpoint", "config", "derive", "graft"]
