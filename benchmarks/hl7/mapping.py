"""How many results a core maps: bytes to message, message to transaction Bundle, Bundle to JSON.

    python -m benchmarks.hl7.mapping [--seconds 10] [--results 3]

The time is that of the processor, so other work on the machine disturbs it little. The records are made up: there is one
patient, and nothing else.
"""

from __future__ import annotations

import argparse
import gc
import time
from datetime import UTC

from fhir_r4.jsonio import encode
from hl7_bridge.devices.profile import Profile
from hl7_bridge.devices.samples import Records
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.messages.oru import results
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.message import parse

LIMIT = 3000
TESTS = [
    ("2345-7", "Glucose"),
    ("2160-0", "Creatinine"),
    ("2823-3", "Potassium"),
    ("2951-2", "Sodium"),
    ("1742-6", "ALT"),
    ("1920-8", "AST"),
    ("718-7", "Hemoglobin"),
    ("6690-2", "Leukocytes"),
]


def oru(number: int, results: int) -> bytes:
    """A message with so many results."""
    lines = [
        f"MSH|^~\\&|LAB|NORTH|HIS|NORTH|20260301101500+0000||ORU^R01^ORU_R01|{number}|P|2.5.1",
        f"PID|1||MRN-{number}^^^NORTH^MR||EXAMPLE^ANNA||19700203|F",
        f"ORC|RE|P-{number}|F-{number}",
        f"OBR|1|P-{number}|F-{number}|24323-8^Panel^LN|||20260301080000|||||||||||||||20260301100000|||F",
    ]
    lines += [
        f"OBX|{n + 1}|NM|{code}^{name}^LN||{number % 97}.{n}|mmol/L|3.5-5.1|H|||F|||20260301080000"
        for n, (code, name) in enumerate(TESTS[:results])
    ]
    return "\r".join(lines).encode() + b"\r"


def map_one(raw: bytes, id: str, profile: Profile, server: Records) -> bytes:
    """The transaction that a message becomes, as JSON."""
    draft = Draft(server, id)
    mapping = results(parse(raw), draft, Context(profile, Receipt(id, "lab", 0, raw), UTC))
    try:
        mapping.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return encode(draft.bundle())
    raise RuntimeError("made-up records do not wait")


def rate(seconds: float, count: int) -> float:
    """Messages with `count` results per second of processor time."""
    profile, server = Profile(), Records()
    raws = [oru(n, count) for n in range(2000)]
    for n, raw in enumerate(raws[:200]):
        map_one(raw, f"r{n}", profile, server)
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 20, 50)
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        for raw in raws:
            map_one(raw, f"r{done}", profile, server)
            done += 1
    return done / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--results", type=int, default=3, help="results in a message, at most 8")
    asked = parser.parse_args()
    found = rate(asked.seconds, asked.results)
    print(f"{found:,.0f} ORU/s of {asked.results} results mapped and serialised per core (limit {LIMIT:,})")


if __name__ == "__main__":
    main()
