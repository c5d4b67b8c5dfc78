"""HTML and SVG as element trees of the standard library.

Text becomes markup in one place, the serializer, which escapes it; no other module of the report
joins strings into markup. That is what keeps a name in a record from becoming part of the page.
"""

import xml.etree.ElementTree as ET

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

    Half a surrogate pair (JSON can hold one, UTF-8 cannot) becomes a question mark.
    """
    markup = ET.tostring(element, encoding="unicode", method="html")
    return markup.encode("utf-8", "replace").decode("utf-8")
