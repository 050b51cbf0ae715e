"""``python -m glat`` is the `glat` command; ``torchrun --nproc-per-node 8 -m glat train`` trains on eight GPUs."""

from .cli import main

if __name__ == "__main__":
    main()
