"""A client of BuildKit's API."""
