"""Clips in HDF5 shards: read and written."""
