"""What `train.py` is made of: the steps, the batches, evaluations and checkpoints of a run, and what ends it early."""
