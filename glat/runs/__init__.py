"""The folder of a run: its files, its checkpoints, and weights that were trained before."""
