"""Entries, writes, expressions and queries made by hypothesis: what two stores must answer in the same way.

Values are few, so that questions often hit; every kind of entry and every node of the tree is among them.
"""

import math

from hypothesis import strategies as st

from fhir_r4.temporal import DAY, HOUR, OPEN_HIGH, OPEN_LOW
from fhir_server.search import tree
from fhir_server.search.contained import CONTAINED, contained_key, contained_type
from fhir_server.search.entries import Contained, Entries
from fhir_server.search.text import normalise
from fhir_server.search.tree import Include, SearchQuery, SortKey
from fhir_server.store.records import Body, WriteOp

START = 1_767_225_600_000_000

TYPES = ("Patient", "Observation", "Group")
IDS = ("1", "2", "3", "4")
pick = st.sampled_from

codes = pick(["", "a", "b", "A", "é"])
systems = pick(["", "urn:s", "urn:t"])
texts = pick(["", "Ann", "ann", "Anna Bo", "Änn", "bo", "\ud7ff", "a\U0010ffff"])
INSTANTS = (OPEN_LOW, 0, HOUR, DAY, 2 * DAY, 40 * DAY, OPEN_HIGH)
NUMBERS = (-math.inf, -1.0, 0.0, 0.1, 1.0, 2.5, math.inf)
TICKS = tuple(START + n * 500 for n in range(9))
numbers = pick(NUMBERS)
uris = pick(["http://x", "http://x/", "http://x/a", "http://x/ab", "http://x/a/b", "urn:oid:1", "http:"])
bases = pick(["", "", "", "http://other"])
versions = pick(["", "", "1"])
degrees = pick(
    [(0.0, 0.0), (0.0, 0.01), (59.91, 10.75), (-33.87, 151.21), (90.0, 0.0), (0.0, 180.0), (0.0, -179.99)]
)
said = pick(["", "bone", "liver", "bone liver", "liver bone", "Bone, and Liver", "böne"])


# intervals
date = pick([(low, high) for low in INSTANTS for high in INSTANTS if low < high])
number = pick([(low, high) for low in NUMBERS for high in NUMBERS if low <= high])
moment = pick([(low, high) for low in TICKS for high in TICKS if low < high])


# The members of an entry of each kind, without its parameter.
token = st.tuples(systems, codes)
string = texts.map(lambda text: (normalise(text), text))
quantity = st.tuples(number, systems, codes, codes).map(lambda e: (*e[0], *e[1:]))
reference = st.tuples(pick([*TYPES, "Device", ""]), pick(IDS), bases, versions)
uri = st.tuples(uris)
COMPONENTS = {"token": token, "string": string, "date": date, "number": number, "quantity": quantity,
              "reference": reference, "uri": uri}  # fmt: skip
# The components of the composite parameters.
COMPOSITES = {
    "cmp": ("token", "quantity"),
    "cmp2": ("token", "date", "number"),
    "cmp3": ("reference", "string"),
    "cmp4": ("uri", "token"),
}


def entries_of(params, members, most=2):
    return st.lists(st.tuples(pick(params), members).map(lambda e: (e[0], *e[1])), max_size=most, unique=True)


def composite(param):
    parts = [COMPONENTS[kind].map(lambda members, kind=kind: (kind, *members)) for kind in COMPOSITES[param]]
    return st.tuples(st.just(param), st.tuples(*parts))


entries = st.builds(
    Entries,
    tokens=entries_of(["tok", "tok2"], token, 3),
    strings=entries_of(["str", "str2"], string),
    dates=entries_of(["date", "date", "date2"], date),
    numbers=entries_of(["num", "num2"], number),
    quantities=entries_of(["qty"], quantity),
    references=entries_of(["ref", "ref2"], reference, 3),
    uris=entries_of(["uri"], uri),
    composites=st.lists(pick([*COMPOSITES]).flatmap(composite), max_size=2, unique=True),
    positions=entries_of(["pos"], degrees),
)


def body_of(type, id, narrative="", note=""):
    told = f'"text":{{"status":"generated","div":"<div>{narrative}</div>"}},' if narrative else ""
    noted = f'"note":"{note}",' if note else ""
    return Body(f'{{"resourceType":"{type}","id":"{id}",{told}{noted}"meta":{{'.encode(), b"}}")


FRAGMENTS = ("m1", "m2")
INNER = tuple(contained_type(type) for type in TYPES)


@st.composite
def with_contained(draw, type, id) -> Entries:
    """Entries of a resource, mostly of one that contains others and refers to them, as they do to each other."""
    outer = draw(entries)
    found = draw(st.lists(st.tuples(pick(TYPES), pick(FRAGMENTS)), max_size=2, unique_by=lambda one: one[1]))
    keys = [contained_key((type, id), *one) for one in found]

    def linked(made):
        if not keys:
            return made
        links = draw(st.lists(st.tuples(pick(["ref", "ref2"]), pick(keys)), max_size=2, unique=True))
        made.references += [(param + CONTAINED, *key, "", "") for param, key in links]
        made.references += [(param, "", "", "", "") for param in dict(links)]
        return made

    linked(outer).contained = tuple(Contained(t, fragment, linked(draw(entries))) for t, fragment in found)
    return outer


@st.composite
def writes(draw) -> WriteOp:
    type, id = draw(pick(TYPES)), draw(pick(IDS))
    if draw(st.integers(0, 9)) == 0:
        return WriteOp("DELETE", type, id, None, Entries())
    return WriteOp("PUT", type, id, body_of(type, id, draw(said), draw(said)), draw(with_contained(type, id)))


transactions = st.lists(
    st.lists(writes(), min_size=1, max_size=4, unique_by=lambda op: (op.type, op.id)), max_size=6
)

prefixes = pick(["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
phrases = pick([("bone",), ("liver",), ("bone", "liver"), ("boneliver",), ("1",)])
LEAVES = {
    "token": lambda params: st.one_of(
        st.builds(tree.TokenIs, params, systems | st.none(), codes | st.none()),
        st.builds(tree.TokenIn, params, st.frozensets(token, max_size=3)),
    ),
    "string": lambda params: st.one_of(
        st.builds(tree.TextIs, params, texts, st.just("exact")),
        st.builds(tree.TextIs, params, texts.map(normalise),
                  pick(["starts", "contains", "equals", "ends", "gt", "lt", "ge", "le"])),
    ),
    "date": lambda params: st.tuples(params, prefixes | st.just("co"), date).map(
        lambda e: tree.DateIs(e[0], e[1], *e[2])
    ),
    "number": lambda params: st.tuples(params, prefixes, numbers, number).map(
        lambda e: tree.NumberIs(e[0], e[1], e[2], *e[3])
    ),
    "quantity": lambda params: st.tuples(
        params, prefixes, numbers, number, systems | st.none(), codes | st.none()
    ).map(lambda e: tree.QuantityIs(e[0], e[1], e[2], *e[3], e[4], e[5])),
    "reference": lambda params: st.builds(
        tree.RefersTo, params, pick([*TYPES, ""]) | st.none(), pick(IDS) | st.none(), bases | st.none(),
        versions | st.none(),
    ),
    "uri": lambda params: st.builds(tree.UriIs, params, uris, pick(["exact", "below", "above"])),
}  # fmt: skip


def composite_leaf(param):
    """A question to a composite parameter, whose parts may be alternatives of one kind."""

    def part(kind):
        leaf = LEAVES[kind](st.just(param))
        return leaf | st.lists(leaf, min_size=2, max_size=2).map(lambda leaves: tree.Or(tuple(leaves)))

    return st.tuples(*map(part, COMPOSITES[param])).map(lambda parts: tree.Composite(param, parts))


leaves = st.one_of(
    st.just(tree.Everything()),
    st.just(tree.Nothing()),
    st.builds(tree.IdIs, st.lists(pick([*IDS, "9", *FRAGMENTS]), max_size=3).map(tuple)),
    st.builds(tree.TypeIs, st.lists(pick([*TYPES, *INNER, "Device"]), max_size=2).map(tuple)),
    st.tuples(prefixes, moment).map(lambda e: tree.Updated(e[0], *e[1])),
    st.builds(
        tree.Present,
        pick(["tok", "str", "date", "num", "qty", "ref", "uri", "cmp", "pos", "none"]),
    ),
    LEAVES["token"](pick(["tok", "tok2", "none"])),
    LEAVES["string"](pick(["str", "str2"])),
    LEAVES["date"](pick(["date", "date2"])),
    LEAVES["number"](pick(["num", "num2"])),
    LEAVES["quantity"](st.just("qty")),
    LEAVES["reference"](pick(["ref", "ref2"])),
    LEAVES["uri"](st.just("uri")),
    pick([*COMPOSITES]).flatmap(composite_leaf),
    st.tuples(degrees, pick([0.0, 500.0, 2_000.0, 17_000_000.0, 2.1e7])).map(
        lambda e: tree.Near("pos", *e[0], e[1])
    ),
    st.builds(
        tree.FullText,
        pick(["text", "content"]),
        st.lists(st.lists(phrases, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    ),
)


def combined(parts):
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(tree.And, several),
        st.builds(tree.Or, several),
        st.builds(tree.Not, parts),
        st.builds(tree.Chain, pick(["ref", "ref2"]), pick(TYPES), parts),
        st.builds(tree.Has, pick(TYPES), pick(["ref", "ref2"]), parts),
        st.builds(tree.ContainedIn, parts),
        st.builds(tree.Repeats, st.lists(pick([*TYPES, *INNER]), min_size=1, max_size=3).map(tuple), parts),
    )


expressions = st.recursive(leaves, combined, max_leaves=5)
kinds = {
    "tok": "token",
    "str": "string",
    "date": "date",
    "num": "number",
    "qty": "quantity",
    "ref": "reference",
    "uri": "uri",
}
sorts = st.lists(
    st.tuples(pick([*kinds, "_id", "_lastUpdated"]), st.booleans()).map(
        lambda e: SortKey(e[0], kinds.get(e[0], ""), e[1])
    ),
    max_size=2,
).map(tuple)
includes = st.lists(
    st.builds(
        Include,
        pick([*TYPES, *INNER, "*"]),
        pick(["ref", "ref2", "ref:contained"]) | st.none(),
        pick(TYPES) | st.none(),
        st.booleans(),
        st.booleans(),
        st.just(tree.Everything()) | leaves,
    ),
    max_size=2,
).map(tuple)
queries = st.builds(
    SearchQuery,
    types=pick(
        [("Patient",), ("Observation",), ("Patient", "Group"), (), ("Patient#",), ("Patient#", "Group#"),
         ("Observation", "Observation#")]
    ),
    where=expressions,
    sort=sorts,
    count=st.integers(1, 5),
    total=pick(["none", "accurate"]),
    includes=includes,
    include_limit=pick([1, 3, 1000]),
)  # fmt: skip
