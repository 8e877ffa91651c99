"""Masks, scores, plan and surgery: what the project exists for."""
