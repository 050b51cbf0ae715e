"""Evaluation of a model: scores, confidence intervals, reports."""
