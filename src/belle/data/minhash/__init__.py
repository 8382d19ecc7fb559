"""Near-duplicates by MinHash, compiled: ``signatures`` of texts, ``NearDuplicates`` kept first, all ``pairs``."""
