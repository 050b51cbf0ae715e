"""Runs and weights on the Hugging Face Hub: fetched by ``hf://owner/name``, pushed with a card."""
