"""Tagging recordings of any length: windows, frames, events, jobs; `tagger` is the Python API."""
