"""Rows of model YAMLs: what their names mean, how they are read, and what builds their layers."""

__all__ = ["arguments", "constructors", "names", "reading", "stock"]
