"""Where windows lie, what they are called, and when recordings are heard in them."""

_MARK = "#t="


def heard_in_windows(windows: str, strong: bool, unheard: float, total: float) -> bool:
    """Whether recordings are heard in windows.

    Args:
        windows: "on", "off", or "auto": where times are known, or more than a third of the audio would go unheard.
        strong: whether the times of events are known.
        unheard, total: how much of the audio is beyond the first clip of its recording, of how much, in one unit.
    """
    # In whole samples or seconds no product rounds: 5 of 15 are not more than a third.
    return windows == "on" or (windows == "auto" and bool(strong or 3 * unheard > total))


def count_windows(total: int, clip_samples: int, least_rest: int) -> int:
    """How many windows hear all of a recording once, but for a rest shorter than `least_rest`."""
    whole, rest = divmod(total, clip_samples)
    return max(1, whole + (rest > 0 and rest >= least_rest))


def window_name(recording: str, start: int, samples: int, rate: int) -> str:
    """The recording with the stretch, in seconds, as a media fragment (W3C): ``a.wav#t=10,20``."""
    return f"{recording}{_MARK}{_seconds(start / rate)},{_seconds((start + samples) / rate)}"


def recording_of(name: str) -> str:
    """The recording in a window's name; other names as they are."""
    return name.rpartition(_MARK)[0] or name


def _seconds(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
