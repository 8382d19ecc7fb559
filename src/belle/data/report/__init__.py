"""The report of a cleaned set, as a page that needs nothing but itself: what went in, what fell, what is left."""
