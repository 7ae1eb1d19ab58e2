"""What Nix's own formats say. Pure."""
