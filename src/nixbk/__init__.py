"""Container images from Nix, built by BuildKit."""

__version__ = "0.1.0"
