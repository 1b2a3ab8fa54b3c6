"""dataforge: the open data engine for pixel-space reasoning."""

__version__ = "0.1.0"
