"""Heat maps of what FocalModulation computes on images.

The folder cannot be called `visualize`: that is the name of a public function of the package, and importing a submodule
of that name would put the submodule in the function's place.
"""

__all__ = ["visualizer"]
