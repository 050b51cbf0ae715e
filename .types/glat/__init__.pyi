"""For mypy alone: in the tree `glat.kernels` lies beside glat/, where mypy would not look for it."""
