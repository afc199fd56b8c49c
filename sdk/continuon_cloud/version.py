"""The version of this package, kept equal to the one in its pyproject.toml by a test."""

__all__ = ["__version__"]

__version__ = "0.1.0"
