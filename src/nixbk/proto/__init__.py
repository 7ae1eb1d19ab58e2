"""Stubs generated from proto/ by dev/protos."""
