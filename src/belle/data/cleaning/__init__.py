"""Cleaning: what a row tells by itself (in workers), what it is beside the rows before it, and what is written."""
