"""How good what a model says is: scores, intervals, reports."""
