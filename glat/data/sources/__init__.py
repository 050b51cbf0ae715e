"""What ``--data`` may be, opened for training and for the evaluation."""
