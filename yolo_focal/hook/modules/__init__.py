"""The modules that rows may name beyond Ultralytics' own, in this process and in others."""

__all__ = ["channels", "children", "finder", "origins", "plugins", "registration", "registry", "safe_globals"]
