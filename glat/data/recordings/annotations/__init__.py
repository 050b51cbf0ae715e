"""Tables of what sounds when: CSV and TSV with onset and offset (DCASE, AudioSet's strong labels), Raven, Audacity.

Readers of our own: crowsetta 5.1, the field's library, takes Raven's tables only with frequencies and with no whole
column of whole seconds, Audacity's labels neither with frequencies nor with decimal commas, names no line of a mistake,
and has no DCASE or AudioSet; dcase_util reads neither Raven nor Audacity.
"""

from .read import is_annotated, read_annotations

__all__ = ["is_annotated", "read_annotations"]
