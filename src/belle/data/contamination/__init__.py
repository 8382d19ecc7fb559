"""What training rows have in common with evaluation rows, found by character n-grams of their keys."""
