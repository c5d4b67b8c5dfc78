"""HTML and SVG as element trees of the standard library.

Text becomes markup in one place, `to_markup`, which escapes it; no other module of the report
joins strings into markup. That is what keeps a name in a record from becoming part of the page.
"""

import xml.etree.ElementTree as ET
from html import escape

# The serializer of the standard library leaves "<" in attributes, so this module has its own.
_VOID = frozenset({"link", "meta"})
_RAW = frozenset({"script", "style"})

Child = ET.Element | str | None


def el(tag: str, *children: Child, **attributes: str | float | None) -> ET.Element:
    """Return an element; ``None`` children and attributes are left out.

    Args:
        tag: Name of the element.
        *children: Elements and texts, in order.
        **attributes: ``class_`` becomes ``class``, ``data_value`` becomes ``data-value``.

    Example:
        >>> to_markup(el("b", "a < b", class_="x"))
        '<b class="x">a &lt; b</b>'
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    element = ET.Element(
        tag, {names[key]: str(value) for key, value in attributes.items() if value is not None}
    )
    last: ET.Element | None = None
    for child in children:
        if isinstance(child, ET.Element):
            element.append(child)
            last = child
        elif child and last is not None:
            last.tail = (last.tail or "") + child
        elif child:
            element.text = (element.text or "") + child
    return element


def to_markup(element: ET.Element) -> str:
    """Return the markup of an element, its texts and attributes escaped.

    The content of ``script`` and ``style``, in which HTML knows no escapes, is written as it is.
    Half a surrogate pair (JSON can hold one, UTF-8 cannot) becomes a question mark.
    """
    return _markup(element).encode("utf-8", "replace").decode("utf-8")


def _markup(element: ET.Element) -> str:
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.items())
    start = f"<{element.tag}{attributes}>"
    if element.tag in _VOID:
        return start
    content = element.text or ""
    if element.tag not in _RAW:
        content = escape(content)
    for child in element:
        content += _markup(child) + escape(child.tail or "")
    return f"{start}{content}</{element.tag}>"
