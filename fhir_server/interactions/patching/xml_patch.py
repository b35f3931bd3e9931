"""XML Patch: the resource is written as FHIR XML, patched, and read again.

Source: https://www.rfc-editor.org/rfc/rfc5261 and https://hl7.org/fhir/R4/http.html#patch. Selectors are the subset of
XPath that the RFC allows; prefixes are those the patch document declares, `f` (FHIR) and `h` (XHTML) may be left
undeclared, and names without a prefix are in the patch's default namespace. Narratives that the patch does not touch keep
their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from lxml import etree

from fhir_r4.errors import FhirError, InvalidPatch, InvalidRequest, MalformedXml
from fhir_r4.xmlio import from_xml, to_xml
from fhir_r4.xmlio.members import FHIR, XHTML
from fhir_r4.xmlio.narrative import NotXhtml, div_to_xml
from fhir_server.interactions.patching.selectors import DEFAULT_PREFIX, InvalidSelector, qualified

_PREFIXES = {"f": FHIR, "h": XHTML, "xml": "http://www.w3.org/XML/1998/namespace"}
_Element = etree._Element


class _Failure(Exception):
    """Why an operation cannot be applied."""


def apply_xml_patch(resource: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """The resource after the operations of an XML Patch document.

    Raises MalformedXml or InvalidRequest when the body is no XML Patch; InvalidPatch, naming the operation by its number
    from 0, when one does not fit the resource or leaves something that is no FHIR.
    """
    patch = _parsed(body)
    target = etree.fromstring(to_xml(resource), _parser(huge=True))
    patched = patch_tree(target, patch)
    try:
        result = from_xml(etree.tostring(patched, encoding="UTF-8"))
    except FhirError as error:
        raise InvalidPatch(
            f"The patch leaves what is no FHIR resource: {error}", issues=error.issues
        ) from error
    _restore_narratives(result, resource)
    return result


def _parser(huge: bool = False) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=huge,
        remove_blank_text=False,
        strip_cdata=False,
    )


def _parsed(body: bytes) -> _Element:
    try:
        patch = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedXml(f"The patch is not well-formed XML: {error}.") from error
    if patch.getroottree().docinfo.internalDTD is not None:
        raise MalformedXml("A document type declaration is not allowed in an XML Patch.")
    return patch


def patch_tree(target: _Element, patch: _Element) -> _Element:
    """Apply the operations that are children of `patch` to the tree below `target`; its root is given back."""
    operations = [child for child in patch if isinstance(child.tag, str)]
    if not operations:
        raise InvalidRequest("The XML Patch has no operations.")
    for number, operation in enumerate(operations):
        name = etree.QName(operation).localname
        selector = operation.get("sel")
        if name not in _APPLY:
            raise InvalidRequest(f"Operation {number} is {name!r}; add, replace or remove was expected.")
        if not selector:
            raise InvalidRequest(f"Operation {number} ({name}) has no sel.")
        try:
            _APPLY[name](_selected(target, operation, selector), operation)
        except InvalidSelector as error:
            raise InvalidRequest(
                f"Operation {number} ({name}): the selector {selector!r} {error}."
            ) from error
        except _Failure as failure:
            raise InvalidPatch(
                f"Operation {number} ({name} {selector!r}) cannot be applied: {failure}."
            ) from failure
    return target


def _selected(target: _Element, operation: _Element, selector: str) -> Any:
    """The one node that the selector finds: an element, comment, or a string that knows its parent."""
    namespaces = {**_PREFIXES, **{prefix: uri for prefix, uri in operation.nsmap.items() if prefix}}
    namespaces[DEFAULT_PREFIX] = operation.nsmap.get(None) or FHIR
    path = qualified(selector)
    try:
        found = target.getroottree().xpath(
            path if path.startswith("/") else f"/{path}", namespaces=namespaces
        )
    except etree.XPathError as error:
        raise InvalidSelector(f"is no XPath: {error}") from error
    if not isinstance(found, list):
        raise InvalidSelector("finds no nodes")
    if len(found) != 1:
        raise _Failure("it finds nothing" if not found else f"it finds {len(found)} nodes, one was expected")
    return found[0]


def _add(node: Any, operation: _Element) -> None:
    kind, position = operation.get("type"), operation.get("pos")
    if kind is not None:
        _add_attribute(node, operation, kind)
        return
    if not isinstance(node, _Element):
        raise _Failure("content can be added to elements only")
    content = [deepcopy(child) for child in operation]
    text = operation.text or ""
    if position in ("before", "after"):
        _add_beside(node, content, text, position)
    elif position == "prepend":
        before = node.text or ""
        node.text = text
        for index, child in enumerate(content):
            node.insert(index, child)
        _append_text(node, content[-1] if content else None, before)
    elif position is None:
        _append_text(node, node[-1] if len(node) else None, text)
        node.extend(content)
    else:
        raise _Failure(f"pos is {position!r}; prepend, before or after was expected")


def _add_attribute(node: Any, operation: _Element, kind: str) -> None:
    if not kind.startswith("@") or not isinstance(node, _Element):
        raise _Failure(f"nothing of the type {kind!r} can be added there")
    prefix, _, local = kind[1:].rpartition(":")
    uri = (operation.nsmap.get(prefix) or _PREFIXES.get(prefix)) if prefix else None
    try:
        name = etree.QName(uri, local).text
        if name in node.attrib:
            raise _Failure(f"the attribute {kind[1:]} is there already")
        node.set(name, operation.text or "")
    except ValueError as error:
        raise _Failure(f"{kind[1:]!r} is no name of an attribute") from error


def _append_text(parent: _Element, last: _Element | None, text: str) -> None:
    """Add text after the child `last`, or at the beginning of the parent."""
    if not text:
        return
    if last is None:
        parent.text = (parent.text or "") + text
    else:
        last.tail = (last.tail or "") + text


def _add_beside(node: _Element, content: list[_Element], text: str, position: str) -> None:
    parent = node.getparent()
    if parent is None:
        raise _Failure("nothing can stand beside the root")
    index = parent.index(node)
    if position == "before":
        _append_text(parent, parent[index - 1] if index else None, text)
    else:
        tail, node.tail = node.tail or "", None
        _append_text(parent, node, text)
        index += 1
        _append_text(parent, content[-1] if content else node, tail)
    for offset, child in enumerate(content):
        parent.insert(index + offset, child)


def _replace(node: Any, operation: _Element) -> None:
    if isinstance(node, _Element):
        _replace_node(node, operation)
        return
    _require_text(operation)
    _set_string(node, operation.text or "")


def _require_text(operation: _Element) -> None:
    if len(operation):
        raise _Failure("an attribute or text is replaced by text")


def _replace_node(node: _Element, operation: _Element) -> None:
    content = [deepcopy(child) for child in operation]
    if len(content) != 1 or (operation.text or "").strip() or (content[0].tail or "").strip():
        raise _Failure("an element is replaced by one element")
    new = content[0]
    new.tail = node.tail
    parent = node.getparent()
    if parent is None:
        raise _Failure("the root cannot be replaced")
    parent.replace(node, new)


def _set_string(node: Any, text: str | None) -> None:
    """Set or (None) remove what a string result of XPath stands for: an attribute or a text."""
    parent = node.getparent() if hasattr(node, "getparent") else None
    if parent is None:
        raise _Failure("it finds neither an element nor an attribute nor a text")
    if node.is_attribute:
        if text is None:
            del parent.attrib[node.attrname]
        else:
            parent.set(node.attrname, text)
    elif node.is_tail:
        parent.tail = text
    else:
        parent.text = text


def _remove(node: Any, _: _Element) -> None:
    if not isinstance(node, _Element):
        _set_string(node, None)
        return
    parent = node.getparent()
    if parent is None:
        raise _Failure("the root cannot be removed")
    _append_text(parent, node.getprevious(), node.tail or "")
    node.tail = None
    parent.remove(node)


_APPLY = {"add": _add, "replace": _replace, "remove": _remove}


def _restore_narratives(result: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Give back the text of each div that means the same as one that was there before."""
    known = {_canonical(narrative["div"]): narrative["div"] for narrative in _narratives(before)}
    for narrative in _narratives(result):
        narrative["div"] = known.get(_canonical(narrative["div"]), narrative["div"])


def _narratives(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, Mapping):
            if isinstance(node.get("div"), str):
                yield node
            stack.extend(node.values())


def _canonical(div: str) -> str:
    try:
        return str(etree.canonicalize(div_to_xml(div)))
    except (NotXhtml, etree.XMLSyntaxError):
        return div
