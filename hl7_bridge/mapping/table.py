"""The one table of mappings: which function maps a message, by message type and trigger event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hl7_bridge.mapping.messages import adt, bar, dft, mdm, orders, oru, siu
from hl7_bridge.mapping.records import Map

Key = tuple[str, str]


def merged(tables: Iterable[Mapping[Key, Map]]) -> Mapping[Key, Map]:
    """One table of several. Raises ValueError when two of them map the same message."""
    table: dict[Key, Map] = {}
    for one in tables:
        twice = table.keys() & one.keys()
        if twice:
            raise ValueError(f"mapped twice: {sorted(twice)}")
        table.update(one)
    return table


# a line for each module of hl7_bridge.mapping.messages
MAPPINGS: Mapping[Key, Map] = merged(
    (
        adt.MAPPINGS,
        bar.MAPPINGS,
        dft.MAPPINGS,
        mdm.MAPPINGS,
        orders.MAPPINGS,
        oru.MAPPINGS,
        siu.MAPPINGS,
    )
)
