"""The page that shows and plays the deciding crops: one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..files import replaced


@dataclass(frozen=True)
class Piece:
    """A crop that decided for a class."""

    label: str
    probability: float  # fused probability of its window
    crop_probability: float | None  # the local stream's probability in it
    file: str
    start_seconds: float
    end_seconds: float
    sound: str  # name of the .wav in the folder; its spectrogram has the same with .png

    @property
    def picture(self) -> str:
        """File name of its spectrogram."""
        return self.sound.removesuffix(".wav") + ".png"


_STYLE = """
:root { color-scheme: light dark; --edge: #8884; --soft: #767676; --bar: #0072b2; }
* { box-sizing: border-box; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
p { margin: .3rem 0; color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .8rem; }
nav a { border: 1px solid var(--edge); border-radius: 1rem; padding: .15rem .7rem; }
nav a { text-decoration: none; color: inherit; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); gap: .9rem; }
figure { border: 1px solid var(--edge); border-radius: .5rem; margin: 0; overflow: hidden; }
figure img { display: block; width: 100%; height: 120px; background: #000; }
figure audio { display: block; width: 100%; }
figcaption { padding: .5rem .7rem .6rem; overflow-wrap: anywhere; font-size: .9rem; }
figcaption b { font-size: 1.05rem; } figcaption span { color: var(--soft); }
.bar { height: 4px; background: var(--edge); } .bar i { display: block; height: 100%; background: var(--bar); }
"""


def write_page(path: Path, classes: Sequence[str], pieces: Sequence[Piece], sample_rate_hz: int) -> None:
    """Write the page; it refers to sounds and spectrograms in the same folder.

    Args:
        classes: of the model, in the page's order.
        pieces: the crops, best first for each class.
        sample_rate_hz: of the crops; decides up to which frequency their spectrograms reach.
    """
    found = [label for label in classes if any(piece.label == label for piece in pieces)]
    files = len({piece.file for piece in pieces})
    sections, links = [], []
    for i, label in enumerate(found):
        of_class = [piece for piece in pieces if piece.label == label]
        links.append(f'<a href="#c{i}">{_text(label)} <small>{len(of_class)}</small></a>')
        cards = "\n".join(_card(piece) for piece in of_class)
        sections.append(f'<section id="c{i}"><h2>{_text(label)}</h2>\n<div class="cards">\n{cards}\n</div></section>')
    body = "\n".join(sections) or "<p>No crop was above its threshold.</p>"
    highest_khz = min(14_000, sample_rate_hz / 2) / 1000
    html = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Crops that decided</title><style>{_STYLE}</style></head>
<body><h1>Crops that decided</h1>
<p>{len(pieces)} crops of {len(found)} classes from {files} recordings; for each class the likeliest first.
The large number is the probability of the class in the window that the crop was cut from (both streams, fused);
beside it, what the local stream heard in the crop. Spectrograms: mel scale, up to {highest_khz:g} kHz.</p>
<nav>{" ".join(links)}</nav>
{body}
</body></html>
"""
    with replaced(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _card(piece: Piece) -> str:
    heard = "" if piece.crop_probability is None else f" · in the crop {piece.crop_probability:.2f}"
    times = f"{_clock(piece.start_seconds)} – {_clock(piece.end_seconds)}"
    return (
        f'<figure><img src="{quote(piece.picture)}" alt="spectrogram" loading="lazy">'
        f'<div class="bar"><i style="width:{100 * piece.probability:.0f}%"></i></div>'
        f'<audio controls preload="metadata" src="{quote(piece.sound)}"></audio>'
        f"<figcaption><b>{piece.probability:.3f}</b>{heard}<br>{times}<br><span>{_text(piece.file)}</span></figcaption>"
        "</figure>"
    )


def _clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"


def _text(text: str) -> str:
    return escape(text)
