"""Bundles: reading, checking, versions, life cycle, polling."""
