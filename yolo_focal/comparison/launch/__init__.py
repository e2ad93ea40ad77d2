"""Where and when the runs are executed: processes on this machine, or nodes of a Ray cluster."""

__all__ = [
    "devices",
    "local",
    "process",
    "queue",
    "ray_bundle",
    "ray_callback",
    "ray_cluster",
    "ray_node",
    "ray_resources",
    "ray_storage",
]
