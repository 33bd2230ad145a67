"""From what a run folder stores to its figures, and the nets that they are measured with."""
