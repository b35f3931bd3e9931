"""Contained resources as rows of `resource`, with the number of their type below zero: -7 is what 7 is where it stands alone.

Such a row has the id `Container/id#fragment` and the version, sequence and time of its container, whose body it shares. The
indexes find what a resource contains, and contained resources by the id within their container; ordinary rows are in neither.
"""

# The id within the container; of other rows the whole id.
FRAGMENT = "substr(id, instr(id, '#') + 1)"

STATEMENTS = (
    "CREATE INDEX resource_inside ON resource(id) WHERE type<0",
    f"CREATE INDEX resource_fragment ON resource(type, {FRAGMENT}) WHERE type<0",
)
