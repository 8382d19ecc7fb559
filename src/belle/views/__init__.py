"""What users ask of a build without running it: why, at what cost, and what happened before."""
