"""Sound files: listing, labels, decoding, resampling, and what is wrong with them."""
