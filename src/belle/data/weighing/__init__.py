"""Rows weighed by a base model: how likely it finds each, and where each lies among the others."""
