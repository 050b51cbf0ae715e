"""Pictures: of tagged recordings, of runs, of sweeps."""
