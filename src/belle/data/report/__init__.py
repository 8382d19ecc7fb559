"""The report of a cleaned set, as a page that needs nothing but itself: what went in, what fell, what is left."""

from belle.data.report.lengths import Lengths
from belle.data.report.page import html

__all__ = ["Lengths", "html"]
