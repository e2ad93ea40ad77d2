"""Focal twins of existing models: the same model with FocalModulation in the place of another module."""

__all__ = ["checkpoint", "config", "derive", "graft"]
