"""Registered modules in Ultralytics: the registry, the patched parser, model YAML rows, configs and `doctor`."""
