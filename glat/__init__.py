"""GL-AT: global-local attention for weakly labelled audio tagging."""

__version__ = "0.1.0"
