"""Makes `table.json`: the conversions of the units of FHIR's value set ucum-common. `python -m fhir_r4.ucum.build`

The same definitions give the same bytes.
"""

from __future__ import annotations

import json

from fhir_r4 import definitions
from fhir_r4.ucum.conversion import TABLE, write_row
from fhir_r4.ucum.derivation import derive

VALUE_SET = "http://hl7.org/fhir/ValueSet/ucum-common"


def common_units() -> list[str]:
    """The units that FHIR lists, sorted."""
    listed = definitions.value_set(VALUE_SET) or {}
    include = listed["compose"]["include"]
    return sorted({concept["code"] for part in include for concept in part.get("concept", ())})


def table() -> dict[str, dict[str, list[str | None]]]:
    """canonical unit -> unit -> row."""
    rows: dict[str, dict[str, list[str | None]]] = {}
    for unit in common_units():
        found = derive(unit)
        if found is not None:
            rows.setdefault(found.canonical, {})[unit] = write_row(found)
    return dict(sorted(rows.items()))


if __name__ == "__main__":
    rows = (f"{json.dumps(canonical)}:{json.dumps(units)}" for canonical, units in table().items())
    TABLE.write_text("{" + ",\n".join(rows) + "}\n")
