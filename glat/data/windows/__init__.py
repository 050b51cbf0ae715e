"""Windows of recordings that are longer than a clip, labelled by what sounds in them.

A recording of n samples has ``K`` windows of S samples, as many as are needed to hear all of it once. They are the
rows of a `Windows` source, and everything that draws rows (samplers, epochs, resuming) works on them as on clips.

Evaluation: the windows follow each other without gap or overlap; the last is padded as a short clip is. A rest that is
shorter than the smallest overlap is left out: no event could count in it. Overlapping the last one instead would
score some seconds twice.

Training: the starts from 0 to n - S are divided into K equal stretches, and a window begins anywhere in its own. So an
epoch hears each recording about once, everywhere, and never at the same places. Which start it is, is part of the row
that the sampler draws (`ClipSource.places`): a pure function of the seed and the number of clips drawn so far.

Labels: a class is present where an event of it sounds in the window for at least ``min_overlap`` seconds, or for its
whole length where it is shorter. Unlabelled stretches are negatives. Recordings without times (weak labels) give their
labels to all of their windows.
"""
