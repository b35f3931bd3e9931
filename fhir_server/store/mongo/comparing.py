"""Comparing the two ends of an entry with a value.

https://hl7.org/fhir/R4/search.html#prefix; the meaning is that of `match.compare_date` and `match.compare_number`.
"""

from __future__ import annotations

from typing import Any

from fhir_server.search.tree import DateIs, NumberIs, QuantityIs
from fhir_server.store.mongo.entries import bounded

Filter = dict[str, Any]


def compared(leaf: DateIs | NumberIs | QuantityIs, l: str, h: str) -> Filter:  # noqa: E741 - as in the tree
    """That an entry with its ends in the members `l` and `h` stands to the value as the prefix says."""
    if isinstance(leaf, DateIs):
        return _date(leaf.prefix, bounded(leaf.low), bounded(leaf.high), l, h)
    return _number(leaf, l, h)


def _date(prefix: str, low: int, high: int, l: str, h: str) -> Filter:  # noqa: E741
    within = {l: {"$gte": low}, h: {"$lte": high}}
    match prefix:
        case "eq":
            return within
        case "ne":
            return {"$or": [{l: {"$lt": low}}, {h: {"$gt": high}}]}
        case "gt":
            return {h: {"$gt": high}}
        case "lt":
            return {l: {"$lt": low}}
        case "ge":
            return {"$or": [{h: {"$gt": high}}, within]}
        case "le":
            return {"$or": [{l: {"$lt": low}}, within]}
        case "sa":
            return {l: {"$gte": high}}
        case "eb":
            return {h: {"$lte": low}}
        case "ap":
            return {l: {"$lt": high}, h: {"$gt": low}}
        case _:
            return {l: {"$lte": low}, h: {"$gte": high}}


def _number(leaf: NumberIs | QuantityIs, l: str, h: str) -> Filter:  # noqa: E741
    value, low, high = float(leaf.value), float(leaf.low), float(leaf.high)
    match leaf.prefix:
        case "eq":
            return {l: {"$gte": low}, h: {"$lt": high}}
        case "ne":
            return {"$or": [{l: {"$lt": low}}, {h: {"$gte": high}}]}
        case "gt":
            return {h: {"$gt": value}}
        case "lt":
            return {l: {"$lt": value}}
        case "ge":
            return {h: {"$gte": value}}
        case "le":
            return {l: {"$lte": value}}
        case "sa":
            return {l: {"$gt": value}}
        case "eb":
            return {h: {"$lt": value}}
        case "ap":
            return {l: {"$lt": high}, h: {"$gte": low}}
