"""The XML of one picture as PASCAL VOC, ImageNet and Oxford Pets write it; entities and DTDs are refused."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box
from maskwise.data.tables import make_box


@dataclass(frozen=True)
class Marked:
    """One annotated object."""

    name: str
    box: Box
    difficult: bool


def read_xml(data: bytes, title: str, shift: Box) -> list[Marked]:
    """The objects of an annotation.

    Args:
        data: the file's bytes.
        title: what an error calls it.
        shift: what makes half-open edges of xmin, ymin, xmax, ymax.

    Raises:
        InputError: broken XML, entities or a DTD in it, or an object without name or box.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(f"{title}: XML with a DTD or entities is not read ({type(error).__name__})") from None
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{title}: broken XML ({' '.join(str(error).split())[:100]})") from None
    return [_marked(item, title, shift) for item in root.iter("object")]


def _marked(item: Element, title: str, shift: Box) -> Marked:
    name = item.findtext("name", "").strip()
    edges = [item.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in edges:
        raise InputError(f"{title}: an object has no name or no bndbox with xmin, ymin, xmax, ymax")
    box = make_box([edge or "" for edge in edges], title, name, shift)
    return Marked(name, box, item.findtext("difficult", "0").strip() == "1")
