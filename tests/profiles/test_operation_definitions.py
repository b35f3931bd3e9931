"""Every operation is offered as its OperationDefinition says, ours as served here and those of HL7 as published."""

import pytest

from fhir_server.context import Operation
from fhir_server.operations.catalogue import OPERATIONS
from profiles.ig.conformance import DEFINITIONS, load_definitions

PUBLISHED = "http://hl7.org/fhir/OperationDefinition/"
DEFINED = {d["url"]: d for d in load_definitions(DEFINITIONS) if d["resourceType"] == "OperationDefinition"}


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: operation.definition.rpartition("/")[2]
)
def test_operations_are_offered_where_their_definitions_say(operation: Operation) -> None:
    definition = DEFINED.get(operation.definition)
    if definition is None:
        assert operation.definition.startswith(PUBLISHED)
        return
    assert (definition["code"], tuple(definition.get("resource", ()))) == (operation.name, operation.types)
    places = (definition["system"], definition["type"], definition["instance"], definition["affectsState"])
    assert places == (operation.system, operation.type, operation.instance, operation.affects_state)
