"""Soundscapes mixed from isolated events, synthesised or recorded."""
