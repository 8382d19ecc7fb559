"""From seed tasks and paid replies to clean training rows."""
