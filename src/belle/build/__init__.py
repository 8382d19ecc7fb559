"""The one build state that Snakemake and DVC share. Knows nothing of machine learning."""
