"""Settings in files: of a run, and of a sweep."""
