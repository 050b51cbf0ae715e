"""From rows of a data set to batches on the device."""
