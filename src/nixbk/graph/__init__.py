"""Closures, orders and differences of graphs. Pure."""
