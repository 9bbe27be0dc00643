"""A matplotlib figure as an SVG element that belongs to the page it stands in.

No style attributes (the page's content policy forbids them), no scripts, ids of its own, the
page's font and colours, an accessible name; the same bytes for the same figure.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

from palimpsest.reports.formatting import SUPERSCRIPTS, number, without_hidden
from palimpsest.reports.labels import settle
from palimpsest.reports.palette import svg_colours

#: Above this many characters the marks (not axes and text) become a bitmap.
LARGEST = 500_000

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_DECIMAL = re.compile(r"-?\d+\.\d{3,}")
_NO_ROTATION = re.compile(r"rotate\(-?0(?:\.0)? [^)]*\)")
_KEPT = {"stroke", "fill", "opacity", "text"}
_GEOMETRY = {"d", "x", "y", "width", "height", "transform", "points", "viewBox"}
#: Values that are SVG's own defaults and need no attribute.
_DEFAULTS = {
    "stroke": "none",
    "text-anchor": "start",
    "stroke-width": "1",
    "opacity": "1",
    "fill-opacity": "1",
    "stroke-opacity": "1",
    "stroke-dasharray": "none",
    "stroke-dashoffset": "0",
}


def to_svg(figure: Figure, *, id: str = "figure", title: str = "", description: str = "") -> str:
    """``figure`` as one inline ``<svg>``, as wide as its container, named for screen readers.

    ``id`` must be unique on the page: ids inside start with it. Text stays text, in the font of
    the page. Black and grey follow the page's colours, palette colours have tones for light and
    dark. A drawing of more than :data:`LARGEST` characters gets its marks as a bitmap.
    """
    _plain_log_labels(figure)
    with warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        settle(figure)
        raw = _saved(figure)
        if len(raw) > 3 * LARGEST or len(svg := _adopted(raw, id, title, description)) > LARGEST:
            for ax in figure.axes:
                for artist in (*ax.collections, *ax.lines, *ax.patches):
                    artist.set_rasterized(True)
            svg = _adopted(_saved(figure), id, title, description)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    return svg


def _saved(figure: Figure) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Type": None, "Format": None}
    # Ids are renamed later; the salt keeps their order of definition the same as well.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "palimpsest"}):
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    return without_hidden(buffer.getvalue())


def _adopted(raw: str, id: str, title: str, description: str) -> str:
    root = ET.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.startswith(_SVG) and child.tag[len(_SVG) :] in ("metadata", "style"):
                parent.remove(child)
    width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
    for element in root.iter():
        _unstyle(element)
        _shorten(element)
    _rename_ids(root, id)
    _unwrap(root)
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width / 72 * 96:.0f}",
        "height": f"{height / 72 * 96:.0f}",
        "role": "img",
        "aria-labelledby": f"{id}-title {id}-desc",
        "stroke-linejoin": "round",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(_SVG + tag, {"id": f"{id}-{tag}"})
        element.text = without_hidden(text)
        root.insert(position, element)
    return _written(root)


def _unstyle(element: ET.Element) -> None:
    """Turn the style attribute into presentation attributes, with the page's colours."""
    declarations = element.attrib.pop("style", "")
    colours = svg_colours(text=element.tag == _SVG + "text")
    for declaration in filter(None, (part.strip() for part in declarations.split(";"))):
        key, value = (half.strip() for half in declaration.split(":", 1))
        if key in ("font-size", "font-weight", "font-style"):
            element.set(key, value.removesuffix("px"))
        elif key.split("-")[0] in _KEPT:
            value = colours.get(value.lower(), value)
            if _DEFAULTS.get(key) != value:
                element.set(key, value)
    if element.tag == _SVG + "text" and "fill" not in element.attrib:
        element.set("fill", "currentColor")


def _shorten(element: ET.Element) -> None:
    if not _NO_ROTATION.sub("", element.get("transform", "?")):
        del element.attrib["transform"]
    for key in _GEOMETRY & element.attrib.keys():
        digits = 4 if key == "transform" else 2
        element.set(key, _DECIMAL.sub(lambda hit, n=digits: _short(hit[0], n), element.get(key)))
    if "d" in element.attrib:
        element.set("d", " ".join(element.get("d").split()))


def _short(decimal: str, digits: int) -> str:
    return f"{float(decimal):.{digits}f}".rstrip("0").rstrip(".")


def _rename_ids(root: ET.Element, prefix: str) -> None:
    """Keep the ids that something refers to, under names that begin with ``prefix``."""
    used: dict[str, str] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            found = _REFERENCE.findall(value)
            if key in (_XLINK + "href", "href") and value.startswith("#"):
                found.append(value[1:])
            for old in found:
                used.setdefault(old, f"{prefix}-{len(used)}")
    for element in root.iter():
        if "id" in element.attrib:
            old = element.attrib.pop("id")
            if old in used:
                element.set("id", used[old])
        for key, value in list(element.attrib.items()):
            if key == _XLINK + "href":
                del element.attrib[key]
                key = "href"
            if key == "href" and value.startswith("#"):
                value = "#" + used[value[1:]]
            element.set(key, _REFERENCE.sub(lambda hit: f"url(#{used[hit[1]]})", value))


def _unwrap(parent: ET.Element) -> None:
    """Replace groups without attributes by their children: half of matplotlib's output."""
    children = list(parent)
    for child in children:
        _unwrap(child)
    parent[:] = list(_flattened(children))


def _flattened(children: list[ET.Element]) -> Iterator[ET.Element]:
    for child in children:
        if child.tag in (_SVG + "g", _SVG + "defs") and not child.attrib and not len(child):
            continue
        if child.tag == _SVG + "g" and not child.attrib:
            yield from child
        else:
            yield child


def _written(root: ET.Element) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if element.text and not element.text.strip():
            element.text = None
        element.tail = None
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _plain_log_labels(figure: Figure) -> None:
    """Logarithmic axes write 0.01, 1,000 and 10⁶: mathematics is switched off for all text."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            major, minor = axis.get_major_formatter(), axis.get_minor_formatter()
            if isinstance(major, LogFormatter):
                axis.set_major_formatter(_log_formatter(major))
            if isinstance(minor, LogFormatter):
                axis.set_minor_formatter(_log_formatter(minor))


def _log_formatter(original: LogFormatter) -> FuncFormatter:
    class Plain(FuncFormatter):
        def set_locs(self, locs: list[float]) -> None:
            original.set_locs(locs)

        def set_axis(self, axis: object) -> None:
            super().set_axis(axis)
            original.set_axis(axis)

    return Plain(lambda value, at: _power(value) if original(value, at) else "")


def _power(value: float) -> str:
    exponent = f"{value:e}".split("e")
    if 1e-4 < abs(value) < 1e5 or float(exponent[0]) != round(float(exponent[0])):
        return number(value) if abs(value) >= 1 else f"{value:g}".replace("-", "−")
    mantissa = "" if float(exponent[0]) == 1 else f"{float(exponent[0]):g}×"
    return f"{mantissa}10{str(int(exponent[1])).translate(SUPERSCRIPTS)}"
