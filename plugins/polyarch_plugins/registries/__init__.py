"""Registries that come with polyarch."""
