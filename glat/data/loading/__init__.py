"""Loading: from row numbers of a data set to batches on the device."""
