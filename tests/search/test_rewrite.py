"""A policy woven into a search: what the actor may not see neither decides, nor appears, nor is counted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.search.contained import contained_key, container_of, is_contained
from fhir_server.search.entries import Contained, Entries
from fhir_server.search.match import Candidate, matches
from fhir_server.search.rewrite import Policy, apply_policy, limited
from fhir_server.search.tree import (
    And,
    Chain,
    ContainedIn,
    Everything,
    Expression,
    Has,
    IdIs,
    Include,
    Not,
    Nothing,
    Or,
    Present,
    Repeats,
    SearchQuery,
    TokenIs,
    TypeIs,
)

OPEN = TokenIs("_security", None, "open")
SEEN = Policy({"Patient": OPEN, "Observation": Chain("subject", "Patient", OPEN)})


def test_without_a_policy_a_search_stays_as_it_is() -> None:
    query = SearchQuery(("Patient",), IdIs(("1",)), includes=(Include("Patient", None),))
    assert apply_policy(query, None) is query


def test_the_policy_of_the_type_is_anded_to_the_question() -> None:
    query = apply_policy(SearchQuery(("Patient",), IdIs(("1",))), SEEN)
    assert query.where == And((OPEN, IdIs(("1",))))


def test_a_type_that_the_policy_does_not_name_has_the_default() -> None:
    assert limited(IdIs(("1",)), ("Device",), SEEN) == Nothing()
    assert limited(IdIs(("1",)), ("Device",), Policy(default=Everything())) == IdIs(("1",))


def test_chains_and_has_are_limited_at_each_link() -> None:
    asked = Chain("subject", "Patient", Has("Observation", "subject", Present("code")))
    made = limited(Not(asked), ("Device",), Policy(SEEN.by_type, Everything()))
    inner = Has("Observation", "subject", And((Chain("subject", "Patient", OPEN), Present("code"))))
    seen = Or((OPEN, TypeIs(("Patient#",))))
    assert made == Not(Chain("subject", "Patient", And((seen, inner))))


def test_what_the_policy_asks_itself_is_not_limited() -> None:
    made = limited(Everything(), ("Observation",), SEEN)
    assert made == Chain("subject", "Patient", OPEN)


def test_several_types_have_each_their_own_rule() -> None:
    policy = Policy({"Patient": OPEN, "Device": Everything(), "Group": Everything()})
    assert policy.over(("Patient", "Device", "Group", "Task")) == Or(
        (And((TypeIs(("Patient",)), OPEN)), TypeIs(("Device", "Group")))
    )
    assert policy.over(("Device", "Group")) == Everything()


def test_a_search_of_all_types_gives_the_others_the_default() -> None:
    assert Policy({"Patient": OPEN}, Everything()).over(()) == Or(
        (And((TypeIs(("Patient",)), OPEN)), Not(TypeIs(("Patient",))))
    )
    assert Policy({"Patient": OPEN}).over(()) == And((TypeIs(("Patient",)), OPEN))
    assert Policy(default=Everything()).over(()) == Everything()
    assert Policy().over(()) == Nothing()


def test_includes_are_limited_by_the_type_that_they_bring() -> None:
    includes = (
        Include("Observation", "subject", "Patient"),
        Include("Observation", "subject", reverse=True),
        Include("*", None, where=Present("name")),
    )
    first, second, third = apply_policy(SearchQuery(("Patient",), includes=includes), SEEN).includes
    assert first.where == OPEN
    assert second.where == Chain("subject", "Patient", OPEN)
    assert third.where == And((Present("name"), SEEN.over(())))


# A little world, asked at random: the limited question must find what the plain one finds where nothing hidden exists.

TYPES = ("Patient", "Observation")
INNER = ("Patient#", "Observation#")
candidates = st.lists(
    st.tuples(
        st.sampled_from(TYPES),
        st.sampled_from(["open", "closed"]),
        st.sampled_from(["a", "b"]),
        st.lists(st.tuples(st.sampled_from(TYPES), st.integers(0, 4)), max_size=2),
        st.lists(
            st.tuples(st.sampled_from(TYPES), st.sampled_from(["a", "b"]), st.integers(0, 4)), max_size=2
        ),
    ),
    min_size=1,
    max_size=5,
)
leaves = st.one_of(
    st.builds(TokenIs, st.just("tok"), st.none(), st.sampled_from(["a", "b"])),
    st.builds(IdIs, st.lists(st.integers(0, 4).map(str), max_size=2).map(tuple)),
    st.builds(TypeIs, st.lists(st.sampled_from(TYPES), max_size=2, unique=True).map(tuple)),
    st.just(Everything()),
)


def combined(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(parts, min_size=1, max_size=2).map(tuple)
    return st.one_of(
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Not, parts),
        st.builds(Chain, st.just("ref"), st.sampled_from(TYPES), parts),
        st.builds(Has, st.sampled_from(TYPES), st.just("ref"), parts),
        st.builds(ContainedIn, parts),
        st.builds(Repeats, st.just((*TYPES, *INNER)), parts),
    )


class World:
    def __init__(self, made: list[Candidate]) -> None:
        self.made = {(c.type, c.id): c for c in made}

    def find(self, type: str, id: str) -> Candidate | None:
        return self.made.get((type, id))

    def referring(self, source: str, param: str, type: str, id: str) -> list[Candidate]:
        entry = (param, type, id, "", "")
        return [c for c in self.made.values() if c.type == source and entry in c.entries.references]


Row = tuple[str, str, str, list[tuple[str, int]], list[tuple[str, str, int]]]


def made(rows: list[Row]) -> list[Candidate]:
    """The resources, and after each what it contains, which it refers to."""
    found: list[Candidate] = []
    for n, (type, label, code, references, inside) in enumerate(rows):
        inner = tuple(
            Contained(
                t,
                f"m{k}",
                Entries(tokens=[("tok", "", c)], references=[("ref", "Patient", str(i), "", "")]),
            )
            for k, (t, c, i) in enumerate(inside)
        )
        keys = [contained_key((type, str(n)), one.type, one.id) for one in inner]
        entries = Entries(
            tokens=[("_security", "", label), ("tok", "", code)],
            references=[("ref", t, str(i), "", "") for t, i in references]
            + [("ref:contained", *key, "", "") for key in keys],
            contained=inner,
        )
        found.append(Candidate(type, str(n), 0, len(found), entries))
        for key, one in zip(keys, inner, strict=True):
            found.append(Candidate(*key, 0, len(found), one.entries))
    return found


def is_open(candidate: Candidate, among: list[Candidate]) -> bool:
    if is_contained(candidate.type):
        container = container_of(candidate.id)
        return any((c.type, c.id) == container and is_open(c, among) for c in among)
    return ("_security", "", "open") in candidate.entries.tokens


@given(
    candidates,
    st.recursive(leaves, combined, max_leaves=4),
    st.sampled_from([(), TYPES, ("Patient",), ("Patient#",), (*TYPES, *INNER)]),
)
@settings(max_examples=200, deadline=None)
def test_a_limited_question_finds_what_a_world_without_the_hidden_would_give(rows, question, types):
    everything = made(rows)
    visible = [c for c in everything if is_open(c, everything)]
    policy = Policy(dict.fromkeys(TYPES, OPEN))
    asked = [c for c in everything if c.type in (types or TYPES)]
    found = [c.id for c in asked if matches(limited(question, types, policy), c, World(everything))]
    wanted = [c.id for c in asked if c in visible and matches(question, c, World(visible))]
    assert found == wanted
