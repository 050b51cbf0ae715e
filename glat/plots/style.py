"""What all pictures share, and the picture of what GL-AT heard in recordings."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..files import DRAWN, replaced
from ..text import shown

PICTURES = (".png", ".pdf", ".svg", ".jpg")  # allowed suffixes of picture files

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
STREAM_COLOURS = {"global": COLOURS[0], "local": COLOURS[1], "fused": COLOURS[2]}


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all. The suffix chooses the format; the metadata say that glat drew it."""
    kind = path.suffix.removeprefix(".")
    options: dict[str, Any]
    if kind == "jpg":
        options = {"pil_kwargs": {"comment": DRAWN}}
    else:
        options = {"metadata": {"Software" if kind == "png" else "Creator": DRAWN.decode()}}
    show_texts(figure)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=150, format=kind, **options)


def show_texts(figure: Figure) -> None:
    """Spell out control characters in a figure: an SVG cannot hold them, and matplotlib's warnings print them."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text("\n".join(map(shown, text.get_text().split("\n"))))


def plain(label: str) -> str:
    """Escape a label for matplotlib: no formula between dollars, and not hidden by a leading underscore."""
    return ("\u200b" if label.startswith("_") else "") + shown(label).replace("$", r"\$")


def tidy(axes: Axes) -> None:
    """Remove the top and right frame, and draw the grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
