"""How a run is driven: its processes, its optimiser, its checkpoints, and what ends it early."""
