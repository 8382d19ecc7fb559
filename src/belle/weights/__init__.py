"""Released weights: the XOR format, fetching, identities."""
