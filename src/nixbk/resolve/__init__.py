"""From a manifest to a lock: evaluators and sources."""
