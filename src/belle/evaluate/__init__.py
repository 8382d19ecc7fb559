"""Answers, verdicts, scores and tables."""
