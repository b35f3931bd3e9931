"""The conformance resources that describe Osler."""

import json

import pytest

from fhir_r4 import definitions
from fhir_r4.errors import ERROR_SYSTEM, ERRORS, Gone, NotFound
from fhir_server.operations.catalogue import OPERATIONS
from profiles.ig import conformance_resources
from profiles.ig.conformance import load_definitions
from profiles.structure import StructuralValidator

ALL_OPERATIONS = [
    *(o["url"] for o in definitions.operation_definitions()),
    *(o.definition for o in OPERATIONS if "hl7.org" not in o.definition),
]
VALIDATE = "http://hl7.org/fhir/OperationDefinition/Resource-validate"


@pytest.mark.parametrize("resource", conformance_resources(ALL_OPERATIONS), ids=lambda r: r["url"])
def test_conformance_resource_is_sound_and_has_its_metadata(resource):
    assert StructuralValidator().check(resource) is None
    assert resource.keys() >= {"resourceType", "id", "url", "name", "status"}


def test_no_two_have_the_same_address_or_id():
    resources = conformance_resources([*ALL_OPERATIONS, VALIDATE])
    assert (
        len({r["url"] for r in resources})
        == len({(r["resourceType"], r["id"]) for r in resources})
        == len(resources)
    )


def test_only_operations_that_are_asked_for_are_given():
    given = [
        r["url"] for r in conformance_resources([VALIDATE]) if r["resourceType"] == "OperationDefinition"
    ]
    assert given == [VALIDATE]
    with pytest.raises(KeyError):
        conformance_resources(["http://example.org/OperationDefinition/none"])


def test_every_error_is_a_code():
    [system] = [r for r in conformance_resources() if r["url"] == ERROR_SYSTEM]
    concepts = {c["code"]: c for c in system["concept"]}
    assert concepts.keys() == ERRORS.keys()
    assert concepts["gone"]["definition"] == Gone.__doc__
    assert {"code": "http-status", "valueInteger": 404} in concepts[NotFound.id]["property"]
    assert system["count"] == len(ERRORS)


def test_definitions_are_loaded_from_files_named_after_them(tmp_path):
    resource = {"resourceType": "SearchParameter", "id": "one"}
    (tmp_path / "SearchParameter-one.json").write_text(json.dumps(resource))
    assert load_definitions(tmp_path) == (resource,)
    (tmp_path / "other.json").write_text(json.dumps(resource))
    with pytest.raises(ValueError, match="named after"):
        load_definitions(tmp_path)
