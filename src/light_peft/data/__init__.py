"""Benchmark tasks: where their examples lie, and how these become batches."""
