"""Importing this skips the module that imports it where there is no GPU; all of them then share one line."""

import pytest
import torch

from .small import ON

if ON == "cuda" and not torch.cuda.is_available():
    pytest.skip("no GPU here; `make gpu` where there is one", allow_module_level=True)
