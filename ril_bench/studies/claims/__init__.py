"""Claims of papers: a file states one, runs test it, and a verdict has the intervals that decide it."""
