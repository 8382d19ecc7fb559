"""Exact ROUGE-L between many rows, compiled: who is too close to whom (``decide``), and who is closest (``rank``)."""
