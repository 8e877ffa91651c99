"""The one loop, its optimizer and schedule; it knows nothing of pruning."""
