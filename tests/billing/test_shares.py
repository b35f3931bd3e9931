"""Shares of coverages and patients close exactly, whatever the rules of the plans."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.resources.billing.money import Rounding
from fhir_server.resources.billing.shares import Benefit, Shares, Terms, shares

D = Decimal


def share(amounts: list[str], *coverages: Terms, digits: int = 2) -> Shares:
    return shares([D(a) for a in amounts], coverages, digits, Rounding.HALF_UP)


def terms(count: int = 1, **rules: object) -> Terms:
    """The same benefit for each of `count` lines; what is not of the benefit is of the coverage."""
    own = {k: v for k, v in rules.items() if k in ("copay", "percent", "limit", "excluded")}
    rest = {k: v for k, v in rules.items() if k not in own}
    return Terms((Benefit("all", **own),) * count, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "patient", "payer"),
    [
        ("33.33", "6.67", "26.66"),
        ("0.05", "0.01", "0.04"),
        ("0.01", "0.00", "0.01"),
        ("0.00", "0.00", "0.00"),
    ],
)
def test_a_fifth_is_the_patients(total: str, patient: str, payer: str) -> None:
    found = share([total], terms(percent=D(20)))
    assert (found.patient, found.payers) == ((D(patient),), (D(payer),))


def test_yen_and_dinars_have_their_own_digits() -> None:
    assert share(["1001"], terms(percent=D(20)), digits=0).patient == (D(200),)
    assert share(["10.005"], terms(percent=D(20)), digits=3).patient == (D("2.001"),)


def test_deductible_then_copay_then_coinsurance() -> None:
    ((part,),) = share(["200.00"], terms(deductible=D(50), copay=D(10), percent=D(10))).parts
    assert (part.deductible, part.copay, part.coinsurance, part.paid) == (
        D(50),
        D(10),
        D("14.00"),
        D("126.00"),
    )


def test_a_deductible_is_borne_by_the_first_lines() -> None:
    found = share(["30.00", "30.00", "40.00"], terms(3, deductible=D(50)))
    assert found.patient == (D("30.00"), D("20.00"), D("0.00"))


def test_a_copay_is_taken_once_of_all_lines_of_a_benefit() -> None:
    found = share(["6.00", "20.00"], terms(2, copay=D(10)))
    assert found.patient == (D("6.00"), D("4.00"))


def test_what_is_excluded_is_the_patients() -> None:
    plan = Terms((Benefit("care"), Benefit("telephone", excluded=True)), deductible=D(10))
    assert share(["100.00", "25.00"], plan).patient == (D(10), D("25.00"))


def test_a_yearly_limit_of_the_plan_leaves_the_rest_to_the_patient() -> None:
    found = share(["100.00", "100.00", "100.00"], terms(3, most_of_payer=D("100.00")))
    assert [p.paid for p in found.parts[0]] == [D("33.34"), D("33.33"), D("33.33")]
    assert sum(found.patient) == D("200.00")


def test_a_yearly_maximum_of_the_patient_makes_the_plan_pay() -> None:
    found = share(["1000.00"], terms(deductible=D(200), percent=D(50), most_of_patient=D("250.00")))
    ((part,),) = found.parts
    assert (part.deductible, part.coinsurance, part.paid) == (D(200), D("50.00"), D("750.00"))


def test_the_second_coverage_takes_what_the_first_leaves() -> None:
    found = share(["100.00"], terms(percent=D(30)), terms(copay=D(5)))
    assert (found.payers, found.patient) == ((D("70.00"), D("25.00")), (D("5.00"),))


@pytest.mark.parametrize("amount", ["-1.00", "0.001"])
def test_what_cannot_be_shared_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="amounts to share"):
        share([amount], terms())


amounts_of = st.integers(0, 10**9)
percents = st.decimals(0, 100, places=2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Decimal], list[Terms], int]:
    digits = draw(st.sampled_from([0, 2, 3]))

    def amount() -> Decimal:
        return D(draw(amounts_of)).scaleb(-digits)

    def perhaps() -> Decimal | None:
        return amount() if draw(st.booleans()) else None

    lines = [amount() for _ in range(draw(st.integers(1, 6)))]
    coverages = []
    for _ in range(draw(st.integers(0, 3))):
        benefits = [
            Benefit(str(n), amount(), draw(percents), perhaps(), draw(st.booleans())) for n in range(3)
        ]
        which = tuple(benefits[draw(st.integers(0, 2))] for _ in lines)
        coverages.append(Terms(which, amount(), perhaps(), perhaps()))
    return lines, coverages, digits


@given(cases(), st.sampled_from(Rounding))
@settings(max_examples=200)
def test_every_line_closes_exactly(case: tuple[list[Decimal], list[Terms], int], mode: Rounding) -> None:
    lines, coverages, digits = case
    found = shares(lines, coverages, digits, mode)
    assert sum(found.payers) + sum(found.patient) == sum(lines)
    left = lines
    for parts, plan in zip(found.parts, coverages, strict=True):
        for asked, part in zip(left, parts, strict=True):
            members = (
                part.excluded,
                part.deductible,
                part.copay,
                part.coinsurance,
                part.beyond_limit,
                part.paid,
            )
            assert all(type(m) is Decimal and 0 <= m == round(m, digits) for m in members)
            assert sum(members) == part.asked == asked
        if plan.most_of_payer is not None:
            assert sum(p.paid for p in parts) <= plan.most_of_payer
        if plan.most_of_patient is not None:
            borne = sum(p.deductible + p.copay + p.coinsurance for p in parts)
            assert borne <= plan.most_of_patient
        left = [asked - part.paid for asked, part in zip(left, parts, strict=True)]
    assert tuple(left) == found.patient
