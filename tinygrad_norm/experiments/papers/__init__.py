"""Papers, redone: each with its claim and its number, ours, and a verdict that follows from the figures."""
