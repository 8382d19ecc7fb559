"""Puts this folder on the path, so that tests anywhere below it can import what they share."""
