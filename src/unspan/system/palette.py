"""The colours of pages, light and dark; a page and its figures take them by name."""

from __future__ import annotations

LIGHT = {
    "bg": "#ffffff",
    "surface": "#f4f6f8",
    "ink": "#1b2026",
    "muted": "#525c68",
    "line": "#c9d1da",
    "link": "#0b4f9c",
    "before": "#5f6b79",
    "after": "#0f5aa8",
    "ref": "#8a4b00",
    "forget": "#9b1c4a",
    "yes-bg": "#e5f3e9",
    "yes": "#14562b",
    "no-bg": "#fdeaea",
    "no": "#8c1616",
    "open-bg": "#fff3d1",
    "open": "#664200",
    "none-bg": "#e9edf2",
    "none": "#36414d",
}
DARK = {
    "bg": "#12161b",
    "surface": "#1b2129",
    "ink": "#e8ecf1",
    "muted": "#a9b4c0",
    "line": "#3a444f",
    "link": "#8fc1ff",
    "before": "#97a3b0",
    "after": "#6fb0f5",
    "ref": "#e0a458",
    "forget": "#f28bb0",
    "yes-bg": "#12301d",
    "yes": "#9fe0b3",
    "no-bg": "#3d1618",
    "no": "#ffb4b0",
    "open-bg": "#3a2d0b",
    "open": "#f2cf7a",
    "none-bg": "#28303a",
    "none": "#c5ced8",
}
TEXT = [  # (text, background) pairs that the page uses; each reaches 4.5 : 1
    *((ink, ground) for ink in ("ink", "muted", "link", "forget") for ground in ("bg", "surface")),
    *((word, f"{word}-bg") for word in ("yes", "no", "open", "none")),
    *(("ink", f"{word}-bg") for word in ("yes", "no", "open", "none")),
    *((word, ground) for word in ("yes", "no", "open") for ground in ("bg", "surface")),
]
MARKS = [
    (mark, "bg") for mark in ("before", "after", "ref", "forget")
]  # drawn marks; each reaches 3 : 1
SHADE = 0.45  # opacity of a full cell in a matrix: its text stays readable


def variables(colours: dict[str, str]) -> str:
    """CSS custom properties."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it, 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(top: str, bottom: str, opacity: float) -> str:
    """The colour of a translucent layer on a ground."""
    return "#" + "".join(
        f"{round(opacity * a + (1 - opacity) * b):02x}"
        for a, b in zip(_channels(top), _channels(bottom))
    )


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
