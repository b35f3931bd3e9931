"""Functions on elements of resources, those of FHIR included: https://hl7.org/fhir/R4/fhirpath.html#functions."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.definitions import PRIMITIVES
from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Collection, Located, Quantity, made, singleton, system
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.navigation import child, children, is_fhir_type, is_type, root
from fhir_r4.fhirpath.syntax import FhirPathError
from fhir_r4.fhirpath.units import same_unit


def _text_argument(call: Invocation) -> str | None:
    item = singleton(call.argument(0), f"{call.name}()")
    if item is not None and not isinstance(item.value, str):
        raise FhirPathError(f"{call.name}() takes a string")
    return None if item is None else str(item.value)


def _extension(call: Invocation) -> Collection:
    url = _text_argument(call)
    return [e for item in call.items for e in child(item, "extension") if e.value.get("url") == url]


def _children(call: Invocation) -> Collection:
    return [inner for item in call.items for inner in children(item)]


def _descendants(call: Invocation) -> Collection:
    found: Collection = []
    for item in call.items:
        for inner in children(item):
            found.append(inner)
            stack = [iter(children(inner))]
            while stack:
                deeper = next(stack[-1], None)
                if deeper is None:
                    stack.pop()
                    continue
                call.focus.scope.budget.spend(1)
                found.append(deeper)
                stack.append(iter(children(deeper)))
    return found


def _has_value(call: Invocation) -> bool:
    return len(call.items) == 1 and call.items[0].type in PRIMITIVES and call.items[0].value is not None


def _get_value(call: Invocation) -> Collection:
    return [made(system(call.items[0]))] if _has_value(call) else []


def _resolve(call: Invocation) -> Collection:
    return [found for item in call.items for found in _resolved(call, item)]


def _resolved(call: Invocation, item: Located) -> Collection:
    text = item.value.get("reference") if isinstance(item.value, Mapping) else item.value
    if not isinstance(text, str):
        return []
    if text.startswith("#"):
        contained = call.focus.scope.root.value.get("contained") or ()
        if text == "#":
            return [call.focus.scope.root]
        return (
            [c for c in child(call.focus.scope.root, "contained") if c.value.get("id") == text[1:]]
            if contained
            else []
        )
    target = call.focus.scope.resolve(text) if call.focus.scope.resolve else None
    return [] if target is None else [root(target)]


def _type(call: Invocation) -> Collection:
    return [_type_info(item) for item in call.items]


def _type_info(item: Located) -> Located:
    namespace, _, name = item.type.rpartition(".")
    return Located({"namespace": namespace or "FHIR", "name": name}, "System.ClassInfo")


def _conforms_to(call: Invocation) -> bool | None:
    """Whether the item is of the type that a definition of R4 itself defines; other profiles are the validator's."""
    item, url = singleton(call.items, "conformsTo()"), _text_argument(call)
    if item is None or url is None:
        return None
    name = url.removeprefix("http://hl7.org/fhir/StructureDefinition/")
    if not is_fhir_type(name):
        raise FhirPathError(f"The profile {url} is not known here")
    return is_type(item, f"FHIR.{name}")


def _comparable(call: Invocation) -> bool | None:
    first, second = singleton(call.items, "comparable()"), singleton(call.argument(0), "comparable()")
    if first is None or second is None:
        return None
    a, b = system(first), system(second)
    return isinstance(a, Quantity) and isinstance(b, Quantity) and same_unit(a, b) is not None


def _html_checks(call: Invocation) -> bool:
    """Whether a narrative is safe XHTML is the validator's business; FHIRPath alone knows only that there is one."""
    return bool(call.items)


def _clock(call: Invocation) -> Moment | None:
    now = call.focus.scope.now
    if now is None:
        raise FhirPathError(f"{call.name}() needs a clock, and there is none here")
    if call.name == "today":
        return Moment.parse(now.date().isoformat(), "Date")
    if call.name == "timeOfDay":
        return Moment.parse(now.time().isoformat("milliseconds"), "Time")
    return Moment.parse(now.isoformat(timespec="milliseconds"), "DateTime")


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "children": (_children, 0, 0),
    "descendants": (_descendants, 0, 0),
    "extension": (_extension, 1, 1),
    "hasExtension": (lambda call: bool(_extension(call)), 1, 1),
    "hasValue": (_has_value, 0, 0),
    "getValue": (_get_value, 0, 0),
    "resolve": (_resolve, 0, 0),
    "type": (_type, 0, 0),
    "conformsTo": (_conforms_to, 1, 1),
    "comparable": (_comparable, 1, 1),
    "htmlChecks": (_html_checks, 0, 0),
    "now": (_clock, 0, 0),
    "today": (_clock, 0, 0),
    "timeOfDay": (_clock, 0, 0),
}
