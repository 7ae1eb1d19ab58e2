"""Layers and configuration of OCI images. Pure."""
