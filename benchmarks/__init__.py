"""Ratios measured side by side, in one run on one machine. Effects: run programs and print."""
