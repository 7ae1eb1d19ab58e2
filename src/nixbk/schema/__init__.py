"""Models of the manifest and the lock. Pure."""
