"""Searches by distance: a box on the index of latitudes, then the exact distance.

https://hl7.org/fhir/R4/location.html#search. An invariant to keep: the box holds every point within the radius, also over
a pole or across the line where longitudes begin anew; `match.distance` decides.
"""

from __future__ import annotations

import math

from fhir_server.search.match import EARTH_RADIUS
from fhir_server.search.tree import Near
from fhir_server.store.sqlite.leaves import RANGE, Lookup, Sql
from fhir_server.store.sqlite.rows import POSITION, in_range

# Far more than what the rounding of the formulas can amount to, in degrees: a hand's breadth.
_SLACK = 1e-6


def near(leaf: Near, pids: tuple[int, ...]) -> Lookup:
    """The rows within the radius."""
    angle = math.degrees(leaf.radius / EARTH_RADIUS) + _SLACK
    low, high = leaf.latitude - angle, leaf.latitude + angle
    box = Sql("lat>=? AND lat<=?", (low, high))
    if low > -90 and high < 90:
        box &= _longitudes(leaf, angle)
    test = box & Sql("distance(?, ?, lat, lon)<=?", (leaf.latitude, leaf.longitude, leaf.radius))
    return Lookup(POSITION, pids, test, ((f"{POSITION.name}_value", test),), RANGE)


def _longitudes(leaf: Near, angle: float) -> Sql:
    """The longitudes that a circle reaches which holds no pole."""
    share = math.sin(math.radians(angle)) / math.cos(math.radians(leaf.latitude))
    reach = math.degrees(math.asin(min(1.0, share))) + _SLACK
    west = in_range(leaf.longitude - reach)
    if west == -180:
        west = 180.0  # where it begins anew, entries may have either
    east = west + 2 * reach
    if east < 180:
        return Sql("lon>=? AND lon<=?", (west, east))
    return Sql("(lon>=? OR lon<=?)", (west, east - 360))
