"""How the course looks: one palette, one type scale, one card. Standard library only.

The hues are Okabe and Ito's (Color Universal Design, jfly.uni-koeln.de/color, 2008): they stay
apart for colour-blind readers. Drawings (SVG), plots (matplotlib) and cards (HTML) all take their
colors from here, and pictures bring their own paper, so they read on a light and a dark page.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

PAPER = "#fdfcf9"
INK = "#1f2933"
MUTED = "#5f6b76"
GRID = "#d9d7d0"

INPUT = "#0072b2"
KERNEL = "#e69f00"
OUTPUT = "#009e73"
HIGHLIGHT = "#d55e00"
GOOD = "#009e73"
BAD = "#d55e00"

# Order of the series in a plot: neighbors differ in lightness as well as in hue.
SERIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#1f2933")
# A second mark besides color, in the same order.
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# The same hues where letters are drawn in them: dark enough to read on paper (WCAG 2.2, AA).
_LETTERS = {HIGHLIGHT: "#b84e00", OUTPUT: "#007a58"}

FONT = "'DejaVu Sans', Verdana, sans-serif"
# In SVG units, which are CSS pixels of a picture shown at its full width.
SMALL, TEXT, LARGE, TITLE = 12, 14, 16, 18
SPACE = 8
WIDTH = 720

_TONES = {"good": GOOD, "bad": BAD, "muted": "#8a949e", "note": INPUT}


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def mix(start: str, end: str, share: float) -> str:
    """The color `share` (0 to 1, clipped) of the way from `start` to `end`, both "#rrggbb"."""
    share = min(max(share, 0.0), 1.0)
    pairs = zip(_channels(start), _channels(end))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def shade(value: float, low: float, high: float, color: str = INK) -> str:
    """Color of `value` on a ramp: white at `low`, `color` at `high`; NaN is `GRID`.

    A range that crosses zero gives two ramps that meet in white at zero (negative: blue,
    positive: vermillion), so that the sign can be seen.
    """
    if value != value:
        return GRID
    if low < 0 < high and color == INK:
        reach = max(-low, high)
        return mix("#ffffff", INPUT if value < 0 else HIGHLIGHT, abs(value) / reach)
    return mix("#ffffff", color, (value - low) / (high - low) if high > low else 0.0)


def luminance(color: str) -> float:
    """Relative luminance, 0 (black) to 1 (white) (WCAG 2.2, "relative luminance")."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colors, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def lettered(color: str) -> str:
    """`color` for letters: a darker one of the same hue where it would be too light to read."""
    return _LETTERS.get(color, color)


def text_on(fill: str) -> str:
    """`INK` or white, whichever reads better on `fill`."""
    return INK if contrast(INK, fill) >= contrast("#ffffff", fill) else "#ffffff"


# Around what was measured, in text that nbval compares: tests/nbval_sanitize.cfg masks what stands
# between them, because another machine measures another number.
OPEN, CLOSE = (
    "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
)


def measured(text: object) -> str:
    """A number, or words with one, that another run may measure differently: marked as such."""
    return f"{OPEN}{text}{CLOSE}"


def unmarked(text: str) -> str:
    """The text without the marks of `measured`."""
    return text.replace(OPEN, "").replace(CLOSE, "")


def short(value: float | str, digits: int = 4) -> str:
    """A number for people: whole numbers whole, others to so many digits, 1,234 and 1.2e-07."""
    if isinstance(value, str):
        return value
    value = float(value)
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**digits - 0.5:  # which rounds to 10**digits
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.{digits - 1}e}"
    return f"{value:,.{digits}g}"


def inline(text: str) -> str:
    """Text as HTML: escaped; `code` between backticks is code, what was measured has its span,
    in which no percent sign begins a line."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
    text = text.replace(f" %{CLOSE}", f"\N{NO-BREAK SPACE}%{CLOSE}")
    return text.replace(OPEN, '<span class="cnnlab-measured">').replace(CLOSE, "</span>")


@dataclass(frozen=True)
class Card:
    """A short message in a cell's output: a title, lines, perhaps a table or code.

    `tone` is "good", "bad", "muted" or "note" and colors the left edge. The text form says the
    same as the HTML form, and neither holds anything that changes between runs.
    """

    tone: str
    title: str
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    code: str = ""

    def __str__(self) -> str:
        parts = [self.title, *self.lines]
        if self.rows:
            # Measured numbers are longer or shorter next time, and must not move what is compared.
            widths = [
                max(len(cell) for cell in column if OPEN not in cell) for column in zip(*self.rows)
            ]
            turn = {"left": str.ljust, "right": str.rjust}
            parts += [
                "  ".join(
                    turn[side](cell, width) for cell, width, side in zip(row, widths, self._sides())
                ).rstrip()
                for row in self.rows
            ]
        return "\n".join(parts + ([self.code] if self.code else []))

    __repr__ = __str__

    def _sides(self) -> list[str]:
        """A column of numbers stands to the right, with its head; any other to the left, and so
        does one of measurements, which may not be numbers next time."""
        columns = zip(*self.rows[1:]) if len(self.rows) > 1 else [("",) for _ in self.rows[0]]
        return [
            "right" if any(column) and all(map(_numeric, column)) else "left" for column in columns
        ]

    def to_html(self) -> str:
        parts = [f'<div style="font-weight:600">{inline(self.title)}</div>']
        parts += [f"<div>{inline(line)}</div>" for line in self.lines]
        if self.rows:
            head, *body = self.rows
            table = [
                "<tr>"
                + "".join(
                    f'<{tag if c else "td"} style="text-align:{side};padding:2px 16px 2px 0">'
                    f"{inline(c)}</{tag if c else 'td'}>"  # an empty head is none
                    for c, side in zip(row, self._sides())
                )
                + "</tr>"
                for row, tag in [(head, "th"), *((row, "td") for row in body)]
            ]
            parts.append(f'<table style="margin:4px 0">{"".join(table)}</table>')
        if self.code:
            parts.append(
                '<pre style="margin:4px 0;padding:0;background:transparent;color:inherit">'
                f"{html.escape(self.code)}</pre>"
            )
        return (
            f'<div class="cnnlab-card" style="border-left:4px solid {_TONES[self.tone]};'
            "padding:6px 12px;margin:4px 0;max-width:72ch;line-height:1.5;"
            'color:var(--jp-content-font-color1,inherit)">' + "".join(parts) + "</div>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.to_html()}


def _numeric(cell: str) -> bool:
    """Whether a cell of a table is a number, perhaps with its unit or a sign: +1,728, 4.2%, -."""
    return bool(re.match(r"[-+\u2212]?[\d,]+(\.\d+)?(e[-+]\d+)?\W*( [A-Za-z]+)?$|-?$", cell))


def show_card(card: Card) -> None:
    """In a notebook the card, elsewhere its text."""
    try:
        from IPython import get_ipython
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        print(card)
        return
    from IPython.display import display

    display(card)
