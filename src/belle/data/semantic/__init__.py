"""Rows of the same meaning: found by the vectors that a base model gives them."""
