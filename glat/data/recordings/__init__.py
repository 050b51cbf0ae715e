"""Sound files: listing, labels, decoding and resampling."""
