"""Section 2.2 of the paper: the crops around the peaks of the best classes."""
