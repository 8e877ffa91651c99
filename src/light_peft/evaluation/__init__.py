"""Predicting, and the scores of predictions."""
