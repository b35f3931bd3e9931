"""The searches whose speed has a target, and what an expert would write in SQL by hand for the same question.

A shape makes its arguments from the resources of a patient of the database. The SQL speaks of the same tables; its names in
braces are numbers that are looked up before: `{p:Observation.code}` of the parameter's sets, `{n:text}` of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import workload

Resource = dict[str, Any]
Record = Mapping[str, Sequence[Resource]]

_DAY = 86_400_000_000
_LOINC = f"{workload.LOINC}|"


@dataclass(frozen=True, slots=True)
class Shape:
    """`target` is of milliseconds at p95. `ask` gives the search and the SQL's values for a record by type and a number.

    `selective`: what it finds does not grow with the database.
    """

    name: str
    target: float
    ask: Callable[[Record, int], tuple[str, Sequence[Any]]]
    sql: str
    selective: bool = True


def by_type(resources: Sequence[Resource]) -> Record:
    found: dict[str, list[Resource]] = {}
    for resource in resources:
        found.setdefault(resource["resourceType"], []).append(resource)
    return found


def _patient(record: Record) -> str:
    return str(record["Patient"][0]["id"])


def _number(record: Record) -> str:
    return str(record["Patient"][0]["identifier"][0]["value"])


def _code(resource: Resource) -> str:
    return str(resource["code"]["coding"][0]["code"])


def _observation(record: Record, n: int) -> Resource:
    found = record["Observation"]
    return found[n % len(found)]


def _birth(record: Record) -> str:
    return str(record["Patient"][0]["birthDate"])


def _day(text: str) -> int:
    """The beginning of a day in microseconds, UTC."""
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def _lab(n: int) -> tuple[str, float]:
    """A laboratory code and a value that about a twentieth of its values exceed."""
    code, _, _, low, high, _ = workload.LABS[n % len(workload.LABS)]
    return code, low + (high - low) * (0.95 + n % 40 / 1000)


_BODIES = "SELECT v.body FROM ({}) m CROSS JOIN resource r ON r.rid=m.rid CROSS JOIN version v ON v.seq=r.seq"


def bodies(listed: str) -> str:
    return _BODIES.format(listed)


def with_total(page: str, listed: str) -> str:
    return f"{page} UNION ALL SELECT count(DISTINCT rid) FROM ({listed})"


def _identifier(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    number = _number(record)
    return f"Patient?identifier={workload.RECORD_NUMBERS}|{number}", (number,)


def _reference(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    return f"Encounter?patient={_patient(record)}", (_patient(record),)


def _name(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    name = record["Patient"][0]["name"][0]
    family, given = name["family"].lower(), name["given"][0].lower()
    family = family[: 3 + n % 3]
    return f"Patient?name={family}&given={given}", (
        family,
        family + "\U0010ffff",
        given,
        given + "\U0010ffff",
    )


def _birthdate(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    day = _day(_birth(record))
    return f"Patient?birthdate={_birth(record)}", (day, day, day + _DAY)


def _code_date_patient(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    observation = _observation(record, n)
    code, day = _code(observation), observation["effectiveDateTime"][:10]
    query = f"Observation?patient={_patient(record)}&code={_LOINC}{code}&date=ge{day}"
    return query, (_patient(record), code, _day(day))


def _newest(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code = _code(_observation(record, n))
    return f"Observation?patient={_patient(record)}&code={_LOINC}{code}&_sort=-date", (_patient(record), code)


def _newest_since(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    day = _observation(record, n)["effectiveDateTime"][:10]
    query = f"Observation?patient={_patient(record)}&status=final&date=ge{day}&_sort=-date"
    return query, (_patient(record), _day(day))


def _by_name(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    city = record["Patient"][0]["address"][0]["city"].lower()
    return f"Patient?address-city={city}&_sort=family,given", (city,)


def _since(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    day = record["Encounter"][n % 3]["period"]["start"][:10]
    return f"Encounter?date=ge{day}&_sort=date", (_day(day), _day(day))


def _chain(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    number = _number(record)
    return f"Observation?patient.identifier={workload.RECORD_NUMBERS}|{number}", (number,)


def _wide_chain(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    _, values = _name(record, n)
    family, given = values[0], values[2]
    return f"Observation?patient.name={family}&patient.given={given}", values


def _has(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    visit = record["Encounter"][n % 3]["identifier"][0]["value"]
    return f"Patient?_has:Encounter:patient:identifier=http://north-hospital.example/visits|{visit}", (visit,)


def _wide_has(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code = _code(record["Condition"][n % 3])
    query = f"Patient?_has:Condition:patient:code={workload.SNOMED}|{code}&birthdate=ge{_birth(record)}"
    return query, (code, _day(_birth(record)), _day(_birth(record)))


def _include(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    patient = _patient(record)
    query = f"MedicationRequest?patient={patient}&_include=MedicationRequest:patient&_include=MedicationRequest:encounter"
    return query, (patient,)


def _revinclude(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    return f"Patient?_id={_patient(record)}&_revinclude=Encounter:patient", (_patient(record),)


def _two_chains(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    number = _number(record)
    query = f"DiagnosticReport?result.subject:Patient.identifier={workload.RECORD_NUMBERS}|{number}"
    return query, (number,)


def _two_wide_chains(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    day = record["Encounter"][n % 3]["period"]["start"][:10]
    name = record["Patient"][0]["name"][0]["family"].lower()
    query = f"Observation?encounter.date={day}&patient.family={name}"
    return query, (_day(day) - _DAY, _day(day), _day(day) + _DAY, name, name + "\U0010ffff")


def _quantity(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code, value = _lab(n)
    return f"Observation?code={_LOINC}{code}&value-quantity=gt{value:.3f}", (code, float(f"{value:.3f}"))


def _unit_quantity(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    quantity = _observation(record, n)["valueQuantity"]
    value, unit = quantity["value"], quantity["code"]
    low = float(value) + 1e-6
    return f"Observation?value-quantity=gt{low:.6f}|{workload.UCUM}|{unit}", (low, unit)


def _composite(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code, value = _lab(n)
    return f"Observation?code-value-quantity={_LOINC}{code}$gt{value:.3f}", (code, float(f"{value:.3f}"))


def _not(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code = _code(_observation(record, n))
    return f"Observation?patient={_patient(record)}&code:not={_LOINC}{code}", (_patient(record), code)


def _wide_not(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    return f"Patient?gender:not=male&birthdate=ge{_birth(record)}", (
        _day(_birth(record)),
        _day(_birth(record)),
    )


def _total(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code = _code(_observation(record, n))
    day = record["Encounter"][n % 3]["period"]["start"][:10]
    return f"Encounter?date=ge{day}&_total=accurate&_sort=date", (
        _day(day),
        _day(day),
        _day(day),
    ) if code else ()


def _code_total(record: Record, n: int) -> tuple[str, Sequence[Any]]:
    code = _code(_observation(record, n))
    return f"Observation?code={_LOINC}{code}&_total=accurate", (code, code)


_TOKEN = "SELECT rid FROM ix_token WHERE pid IN ({p:%s}) AND code=? AND system={n:%s}"
_PAGE = "ORDER BY 1 LIMIT 20"
_OF_PATIENT = "SELECT rid FROM ix_reference INDEXED BY ix_reference_value WHERE id=? AND pid IN ({p:%s}) AND type={n:Patient} AND base=0"
_HAS_CODE = (
    "EXISTS (SELECT 1 FROM ix_token t WHERE t.rid=x.rid AND t.pid IN ({p:Observation.code}) AND t.code=?"
    f" AND t.system={{n:{workload.LOINC}}})"
)
_NAMED = "pid IN ({p:Patient.name}) AND norm>=? AND norm<?"
_GIVEN = "EXISTS (SELECT 1 FROM ix_string g WHERE g.rid=s.rid AND +g.pid IN ({p:Patient.given}) AND +g.norm>=? AND +g.norm<?)"
_PATIENT_BY_NUMBER = _TOKEN % ("Patient.identifier", workload.RECORD_NUMBERS)
_OBSERVATIONS_OF = (
    "SELECT x.rid FROM resource p CROSS JOIN ix_reference x ON x.id=p.id AND x.pid IN ({p:Observation.patient})"
    " AND x.type={n:Patient} AND x.base=0 WHERE p.rid IN (%s)"
)
_RECENT = "pid IN ({p:Encounter.date}) AND lo>=?"

SHAPES = (
    Shape("identifier", 2, _identifier, bodies(f"{_PATIENT_BY_NUMBER} {_PAGE}")),
    Shape("reference", 2, _reference, bodies(f"{_OF_PATIENT % 'Encounter.patient'} {_PAGE}")),
    Shape("name and given name", 5, _name, bodies(f"SELECT DISTINCT rid FROM ix_string s WHERE {_NAMED} AND {_GIVEN} {_PAGE}"), selective=False),
    Shape("birth date", 5, _birthdate, bodies(f"SELECT rid FROM ix_date WHERE pid IN ({{p:Patient.birthdate}}) AND lo>=? AND lo<=? AND hi<=? {_PAGE}"), selective=False),
    Shape("patient, code and date", 5, _code_date_patient, bodies(f"SELECT rid FROM ({_OF_PATIENT % 'Observation.patient'}) x WHERE {_HAS_CODE} AND EXISTS (SELECT 1 FROM ix_date d WHERE d.rid=x.rid AND +d.pid IN ({{p:Observation.date}}) AND +d.hi>?) {_PAGE}")),
    Shape("patient and code, newest first", 10, _newest, bodies(f"SELECT rid FROM ({_OF_PATIENT % 'Observation.patient'}) x WHERE {_HAS_CODE} ORDER BY (SELECT max(+d.hi) FROM ix_date d WHERE d.rid=x.rid AND +d.pid IN ({{p:Observation.date}})) DESC LIMIT 20")),
    Shape("of a patient since, newest first", 10, _newest_since, bodies(f"SELECT x.rid FROM ({_OF_PATIENT % 'Observation.patient'}) x CROSS JOIN ix_date d ON d.rid=x.rid WHERE +d.pid IN ({{p:Observation.date}}) AND +d.hi>? AND EXISTS (SELECT 1 FROM ix_token t WHERE t.rid=x.rid AND +t.pid IN ({{p:Observation.status}}) AND +t.code='final') ORDER BY d.hi DESC LIMIT 20")),
    Shape("patients of a town, by name", 50, _by_name, bodies("SELECT s.rid FROM ix_string s WHERE s.pid IN ({p:Patient.address-city}) AND s.norm=? ORDER BY (SELECT min(+f.norm) FROM ix_string f WHERE f.rid=s.rid AND +f.pid IN ({p:Patient.family})), (SELECT min(+g.norm) FROM ix_string g WHERE g.rid=s.rid AND +g.pid IN ({p:Patient.given})) LIMIT 20"), selective=False),
    Shape("encounters since, in order", 10, _since, bodies(f"SELECT rid FROM ix_date WHERE {_RECENT} AND hi>? ORDER BY lo, rid LIMIT 20"), selective=False),
    Shape("chain to one patient", 10, _chain, bodies(f"{_OBSERVATIONS_OF % _PATIENT_BY_NUMBER} {_PAGE}")),
    Shape("chain to patients of a name", 10, _wide_chain, bodies(f"{_OBSERVATIONS_OF % f'SELECT rid FROM ix_string s WHERE {_NAMED} AND {_GIVEN}'} {_PAGE}"), selective=False),
    Shape("_has of one", 10, _has, bodies("SELECT p.rid FROM ix_token t CROSS JOIN ix_reference x ON x.rid=t.rid AND x.pid IN ({p:Encounter.patient}) AND x.base=0 CROSS JOIN resource p ON p.type=x.type AND p.id=x.id WHERE t.pid IN ({p:Encounter.identifier}) AND t.code=? AND t.system={n:http://north-hospital.example/visits} AND x.type={n:Patient} AND p.deleted=0")),
    Shape("_has of many", 10, _wide_has, bodies("SELECT p.rid FROM resource p WHERE p.type={n:Patient} AND p.deleted=0 AND EXISTS (SELECT 1 FROM ix_reference x CROSS JOIN ix_token t ON t.rid=x.rid AND t.pid IN ({p:Condition.code}) AND t.code=? AND t.system={n:http://snomed.info/sct} WHERE x.id=p.id AND x.type=p.type AND x.pid IN ({p:Condition.patient}) AND x.base=0) AND EXISTS (SELECT 1 FROM ix_date d WHERE d.rid=p.rid AND +d.pid IN ({p:Patient.birthdate}) AND (+d.hi>? OR +d.lo>=?)) ORDER BY p.rid LIMIT 20"), selective=False),
    Shape("_include", 10, _include, bodies(f"WITH m AS ({_OF_PATIENT % 'MedicationRequest.patient'} {_PAGE}) SELECT rid FROM m UNION SELECT t.rid FROM m CROSS JOIN ix_reference x ON x.rid=m.rid AND x.pid IN ({{p:MedicationRequest.patient}},{{p:MedicationRequest.encounter}}) CROSS JOIN resource t ON t.type=x.type AND t.id=x.id AND t.deleted=0")),
    Shape("_revinclude", 10, _revinclude, bodies("WITH m AS (SELECT rid, id FROM resource WHERE type={n:Patient} AND id=?) SELECT rid FROM m UNION SELECT x.rid FROM m CROSS JOIN ix_reference x ON x.id=m.id AND x.pid IN ({p:Encounter.patient}) AND x.type={n:Patient}")),
    Shape("two chains, one after the other", 50, _two_chains, bodies(f"SELECT DISTINCT y.rid FROM ({_OBSERVATIONS_OF % _PATIENT_BY_NUMBER}) o CROSS JOIN resource r ON r.rid=o.rid CROSS JOIN ix_reference y ON y.id=r.id AND y.pid IN ({{p:DiagnosticReport.result}}) AND y.type={{n:Observation}} AND y.base=0 {_PAGE}")),
    Shape("two chains, both needed", 50, _two_wide_chains, bodies("SELECT x.rid FROM ix_date d CROSS JOIN resource e ON e.rid=d.rid CROSS JOIN ix_reference x ON x.id=e.id AND x.pid IN ({p:Observation.encounter}) AND x.type={n:Encounter} AND x.base=0 WHERE d.pid IN ({p:Encounter.date}) AND d.lo>=? AND d.lo>=? AND d.hi<=? AND EXISTS (SELECT 1 FROM ix_reference y CROSS JOIN resource p ON p.type=y.type AND p.id=y.id CROSS JOIN ix_string s ON s.rid=p.rid AND s.pid IN ({p:Patient.family}) AND s.norm>=? AND s.norm<? WHERE y.rid=x.rid AND y.pid IN ({p:Observation.patient})) ORDER BY 1 LIMIT 20"), selective=False),
    Shape("code and quantity", 50, _quantity, bodies(f"SELECT rid FROM ({_TOKEN % ('Observation.code', workload.LOINC)}) x WHERE EXISTS (SELECT 1 FROM ix_quantity q WHERE q.rid=x.rid AND +q.pid IN ({{p:Observation.value-quantity}}) AND +q.hi>?) {_PAGE}"), selective=False),
    Shape("quantity with unit", 50, _unit_quantity, bodies("SELECT rid FROM ix_quantity WHERE lo>? AND pid IN ({p:Observation.value-quantity}) AND code=? AND system={n:http://unitsofmeasure.org} ORDER BY rid LIMIT 20"), selective=False),
    Shape("composite", 50, _composite, bodies(f"SELECT rid FROM ix_composite WHERE pid IN ({{c:Observation.code-value-quantity}}) AND a=? AND b>? AND a_of={{n:{workload.LOINC}}} {_PAGE}"), selective=False),
    Shape("not, of a patient", 50, _not, bodies(f"SELECT rid FROM ({_OF_PATIENT % 'Observation.patient'}) x WHERE NOT {_HAS_CODE} {_PAGE}")),
    Shape("not, of all", 50, _wide_not, bodies("SELECT r.rid FROM resource r WHERE r.type={n:Patient} AND r.deleted=0 AND NOT EXISTS (SELECT 1 FROM ix_token t WHERE t.rid=r.rid AND t.pid IN ({p:Patient.gender}) AND t.code='male') AND EXISTS (SELECT 1 FROM ix_date d WHERE d.rid=r.rid AND +d.pid IN ({p:Patient.birthdate}) AND (+d.hi>? OR +d.lo>=?)) ORDER BY r.rid LIMIT 20"), selective=False),
    Shape("accurate total by code", 50, _code_total, with_total(bodies(f"{_TOKEN % ('Observation.code', workload.LOINC)} {_PAGE}"), _TOKEN % ("Observation.code", workload.LOINC)), selective=False),
    Shape("accurate total by date", 50, _total, with_total(bodies(f"SELECT rid FROM ix_date WHERE {_RECENT} AND hi>? ORDER BY lo, rid LIMIT 20"), f"SELECT rid FROM ix_date WHERE {_RECENT}"), selective=False),
)  # fmt: skip
