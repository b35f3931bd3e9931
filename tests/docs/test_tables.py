"""Each table of the code stands in the documentation, with the same facts."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import fhir_r4
import fhir_server
import profiles
import terminology
from fhir_r4.definitions import code_system_urls, resource_types, value_set_urls
from fhir_r4.errors import ERRORS, FhirError
from fhir_server.operations.catalogue import OPERATIONS
from fhir_server.search.directives import RESULT_PARAMETERS
from fhir_server.search.filter import OPERATORS
from fhir_server.search.hierarchies import HIERARCHIES
from fhir_server.search.lists import FUNCTIONAL_LISTS
from fhir_server.search.modifiers import MODIFIERS
from fhir_server.search.parameters import SPECIAL_PARAMETERS
from fhir_server.search.tree import Prefix
from fhir_server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# where operations are documented
OPERATION_PAGES = (
    "operations.md",
    "scheduling.md",
    "appointments.md",
    "beds.md",
    "bridge.md",
    "billing.md",
    "payments.md",
)


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level, '' when there is no such heading."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by their first cell, without backquotes."""
    lines = (line for line in text.splitlines() if line.startswith("| `"))
    cells = ([c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    return {c[0].strip("`"): c for c in cells}


def own_errors() -> dict[str, type[FhirError]]:
    """All errors of the product: every module is imported, and classes that tests define are left out."""
    for package in (fhir_r4, fhir_server, profiles, terminology):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith((".build", "__main__")):
                importlib.import_module(module.name)
    return {id: e for id, e in ERRORS.items() if not e.__module__.startswith("tests")}


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    documented = rows(text_of("settings.md"))
    assert documented.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        _, variable, default, meaning = documented[name]
        assert variable == f"`OSLER_{name.upper()}`"
        value = json.dumps(list(field.default)) if isinstance(field.default, tuple) else str(field.default)
        assert default == (f"`{value}`" if value else "empty")
        assert meaning.endswith(".")


def test_every_error_is_documented_with_its_status_and_issue_code() -> None:
    text = text_of("errors.md")
    errors = own_errors()
    assert set(re.findall(r"^## (.*)$", text, re.MULTILINE)) == errors.keys()
    for id, error in errors.items():
        assert f"{error.status}, issue code `{error.code}`." in section(text, id), id


def test_every_operation_is_documented_with_its_definition_and_places() -> None:
    text = "\n".join(text_of(page) for page in OPERATION_PAGES if (DOCS / page).exists())
    assert set(re.findall(r"^## \$(.*)$", text, re.MULTILINE)) == {o.name for o in OPERATIONS}
    for operation in OPERATIONS:
        told = section(text, f"${operation.name}")
        assert f"`{operation.definition}`" in told
        for name in operation.types:
            assert name in told, (operation.name, name)


def commands_of(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of the group and of the groups in it, by what is typed."""
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name}{part} ")
        else:
            yield f"{name}{part}", command


def test_every_command_is_documented_with_its_options() -> None:
    import typer.main

    from fhir_server.cli import app

    text = text_of("cli.md")
    commands = dict(commands_of(typer.main.get_command(app)))
    assert set(re.findall(r"^## osler (.*)$", text, re.MULTILINE)) == set(commands)
    for name, command in commands.items():
        told = section(text, f"osler {name}")
        for option in (o for p in command.params for o in p.opts if o.startswith("--")):
            known = option in told or option in ("--help", "--quiet", "--store")
            assert known, f"osler {name} {option}"


def test_every_kind_of_search_parameter_is_documented_with_its_modifiers() -> None:
    documented = rows(section(text_of("search.md"), "Kinds and modifiers"))
    assert documented.keys() == MODIFIERS.keys()
    for kind, cells in documented.items():
        assert set(re.findall(r"`:([\w-]+)`", cells[2])) == set(MODIFIERS[kind]), kind


def test_special_parameters_lists_hierarchies_and_operators_are_documented() -> None:
    text = text_of("search.md")
    for name in (*SPECIAL_PARAMETERS, *FUNCTIONAL_LISTS, *OPERATORS):
        assert f"`{name}`" in text, name
    for type in HIERARCHIES:
        assert type in text, type


def test_every_prefix_and_result_parameter_is_documented() -> None:
    text = text_of("search.md")
    for prefix in get_args(Prefix):
        assert f"`{prefix}`" in text
    shown_in_rest = {"_format", "_pretty"}
    never_written_by_hand = {"_cursor", "_containedType"}
    for parameter in set(RESULT_PARAMETERS) - never_written_by_hand:
        assert f"`{parameter}" in (text_of("rest.md") if parameter in shown_in_rest else text), parameter


def test_figures_of_the_definitions_are_right() -> None:
    assert f"All {len(resource_types())} resource types" in text_of("rest.md")
    assert f"{len(code_system_urls()):,} code systems" in text_of("terminology.md")
    assert f"{len(value_set_urls()):,} value sets" in text_of("terminology.md")


def _bridge_figures() -> Any:
    """The figures of the bridge, with a value of each."""
    from fhir_server.bridge.metrics import BridgeCollector
    from fhir_server.bridge.sent import Sent
    from hl7_bridge.tallies import Tallies

    tallies = Tallies()
    tallies.arrived("lab", 1, duplicate=True)
    tallies.refused("lab")
    tallies.became("lab", "held", ("unmapped-code",))
    collector = BridgeCollector(tallies)
    collector.counts = {("lab", "held"): 1}
    collector.sent = {"his": Sent({"dead": 1}, 1)}
    return collector


async def _nothing() -> None:
    return


def test_every_metric_is_documented() -> None:
    from fhir_server.http.metrics import Metrics

    told = rows(section(text_of("deployment.md"), "Metrics"))
    metrics = Metrics()
    metrics.observe("GET", 200, 0.001)
    metrics.follow(_bridge_figures(), _nothing)
    families = re.findall(rb"^# TYPE (osler_\w+) ", metrics.text({"Patient": 1}, 1), re.MULTILINE)
    made = {name.decode() for name in families if not name.endswith(b"_created")}
    assert made == {name for name in told if name.startswith("osler_")}


def test_every_patch_format_is_documented() -> None:
    from fhir_server.interactions.capabilities import PATCH_FORMATS

    told = section(text_of("rest.md"), "Patch")
    assert all(f"`{media}`" in told for media in PATCH_FORMATS)


def test_changelog_names_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")]), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("record", sorted((DOCS / "adr").glob("*.md")), ids=lambda p: p.stem)
def test_decision_records_have_number_context_decision_and_consequences(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))


def test_packages_named_by_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in re.findall(
        r"`((?:interactions|http|search|store|resources|fhir_server|fhir_r4)/[\w/]+\.py)`", text
    ):
        assert (ROOT / path).exists() or (ROOT / "fhir_server" / path).exists(), path
