"""Broken inputs by entry point, and what must be said of each."""
