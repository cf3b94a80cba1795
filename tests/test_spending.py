"""What was spent: sums of the ledger, their chart, and the file."""

from __future__ import annotations

import time
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.models import Budget, BudgetPeriod, Charge
from openrouter_app.spending import Filters, Group, chart_of, csv_rows, report
from openrouter_app.spending.chart import HEIGHT, WIDTH, step_of
from openrouter_app.spending.export import as_text
from tests.factories import make_user

pytestmark = pytest.mark.django_db

JUNE = Filters(date(2026, 6, 1), date(2026, 6, 30))
ZERO = Decimal(0)


def pot(scope="site", period="day", **fields):
    return Budget.objects.get_or_create(scope=scope, period=period, **fields)[0]


def charge(day, usd, *, scope="site", chain="joke", model="a/b", user=None, budget=None, **fields):
    """A run's charge on that day of June."""
    when, _ = BudgetPeriod.objects.get_or_create(budget=budget or pot(scope), starts=date(2026, 6, day))
    settled = None if usd is None else Decimal(usd)
    return Charge.objects.create(
        period=when,
        run_uuid=fields.pop("run_uuid", None) or uuid4(),
        chain_slug=chain,
        model=model,
        user=user,
        settled=settled,
        **fields,
    )


def names(groups):
    return [(group.name, group.runs, group.site, group.own) for group in groups]


def test_sums_are_by_day_chain_model_and_user_the_dearest_first():
    ada, bob = make_user("ada"), make_user("bob")
    charge(1, "0.5", user=ada)
    charge(1, "0.25", chain="chat", model="c/d", user=bob)
    charge(3, "2", scope="own", chain="chat", user=bob)
    found = report(JUNE)
    assert (found.total.runs, found.total.site, found.total.own) == (3, Decimal("0.75"), Decimal(2))
    assert names(found.days) == [
        ("2026-06-01", 2, Decimal("0.75"), ZERO),
        ("2026-06-03", 1, ZERO, Decimal(2)),
    ]
    assert names(found.chains) == [
        ("chat", 2, Decimal("0.25"), Decimal(2)),
        ("joke", 1, Decimal("0.5"), ZERO),
    ]
    assert names(found.models) == [("a/b", 2, Decimal("0.5"), Decimal(2)), ("c/d", 1, Decimal("0.25"), ZERO)]
    assert names(found.users) == [("bob", 2, Decimal("0.25"), Decimal(2)), ("ada", 1, Decimal("0.5"), ZERO)]


def test_run_counts_once_however_many_pots_it_was_charged_to():
    run = uuid4()
    charge(1, "1", run_uuid=run)
    charge(1, "1", run_uuid=run, budget=pot("site", "month"))
    charge(1, "1", run_uuid=run, budget=pot("each_user"))
    assert (report(JUNE).total.runs, report(JUNE).total.site) == (1, Decimal(1))


def test_what_was_spent_stays_when_its_user_and_its_run_are_gone():
    ada = make_user("ada")
    charge(1, "1", user=ada)
    ada.delete()
    found = report(JUNE)
    assert names(found.users) == [("visitors, the system, deleted users", 1, Decimal(1), ZERO)]


def test_answers_being_written_are_told_apart_from_what_was_spent():
    charge(1, None, reserved=Decimal("0.3"))
    found = report(JUNE)
    assert (found.total.site, found.reserved, found.total.runs) == (ZERO, Decimal("0.3"), 1)


def test_sum_that_holds_an_estimate_says_so():
    charge(1, "1", estimated=True)
    charge(2, "1")
    assert [day.is_estimated for day in report(JUNE).days] == [True, False]
    assert report(JUNE).total.is_estimated


@pytest.mark.parametrize(
    ("chosen", "sum"),
    [
        ({}, "15"),
        ({"chain": "chat"}, "2"),
        ({"model": "c/d"}, "4"),
        ({"user": "ada"}, "8"),
        ({"payer": "site"}, "14"),
        ({"payer": "user"}, "1"),
        ({"chain": "chat", "user": "ada"}, "0"),
        ({"chain": "' OR 1=1 --"}, "0"),
    ],
)
def test_filters_leave_out_what_is_not_meant(chosen, sum):
    charge(1, "1", scope="own")
    charge(2, "2", chain="chat")
    charge(3, "4", model="c/d")
    charge(4, "8", user=make_user("ada"))
    total = report(Filters(JUNE.first, JUNE.last, **chosen)).total
    assert total.total == Decimal(sum)


def test_first_and_last_day_belong_to_the_days_that_are_meant():
    for day in (1, 2, 3, 4):
        charge(day, "1")
    assert report(Filters(date(2026, 6, 2), date(2026, 6, 3))).total.total == Decimal(2)


def test_number_of_queries_does_not_depend_on_the_charges(django_assert_num_queries):
    charge(1, "1", user=make_user("u"))
    with django_assert_num_queries(5):
        report(JUNE)
    for number in range(30):
        charge(1 + number % 28, "1", user=make_user(f"u{number}"), chain=f"c{number}", model=f"m/{number}")
    with django_assert_num_queries(5):
        report(JUNE)


# ---- the chart ----


def group(day, site="0", own="0"):
    return Group(day, str(day), 1, Decimal(site), Decimal(own), False)


def test_chart_has_a_bar_for_each_day_and_the_highest_fits():
    chart = chart_of([group(date(2026, 6, 2), "1.5", "0.5")], JUNE)
    assert len(chart.bars) == 30
    bar = chart.bars[1]
    assert (bar.site, bar.own, bar.total) == (Decimal("1.5"), Decimal("0.5"), Decimal(2))
    assert bar.site_height == pytest.approx(3 * bar.own_height)
    assert bar.own_y + bar.own_height == pytest.approx(bar.site_y)
    assert chart.lines[-1] == (0, Decimal(2))
    assert chart.bars[0].site_height == chart.bars[0].own_height == 0


def test_many_days_are_drawn_as_months():
    filters = Filters(date(2025, 12, 15), date(2026, 6, 30))
    days = [group(date(2025, 12, 20), "1"), group(date(2026, 1, 1), "1"), group(date(2026, 1, 31), "2")]
    chart = chart_of(days, filters)
    assert chart.is_monthly
    assert [bar.site for bar in chart.bars] == [Decimal(1), Decimal(3), *[ZERO] * 5]


def test_nothing_spent_is_no_chart():
    assert chart_of([], JUNE) is None
    assert chart_of([group(date(2026, 6, 1))], JUNE) is None


money = st.decimals(min_value=0, max_value=10**8, places=10)


@given(st.lists(st.tuples(st.integers(0, 400), money, money), max_size=20), st.integers(0, 400))
def test_whatever_was_spent_every_bar_stays_in_the_picture(spent, days):
    filters = Filters(date(2026, 1, 1), date(2026, 1, 1) + timedelta(days=days))
    found = {filters.first + timedelta(days=day): (site, own) for day, site, own in spent if day <= days}
    chart = chart_of([group(day, site, own) for day, (site, own) in sorted(found.items())], filters)
    if chart is None:
        assert not any(site or own for site, own in found.values())
        return
    assert 2 <= len(chart.lines) <= 6
    for bar in chart.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH + 0.01
        assert bar.own_y >= -0.02
        assert bar.site_height + bar.own_height <= HEIGHT + 0.02
    assert sum(bar.total for bar in chart.bars) == sum(site + own for site, own in found.values())


@given(st.decimals(min_value="1e-10", max_value=10**8, places=10))
def test_lines_stand_at_round_dollars(highest):
    step = step_of(highest)
    assert step * 5 >= highest > step * 5 / 10
    assert step.normalize().as_tuple().digits in [(1,), (2,), (5,)]


# ---- the file ----


def test_file_has_a_line_for_each_charge_in_order_of_time():
    run = uuid4()
    charge(2, "0.0000012", user=make_user("ada"), run_uuid=run, estimated=True)
    charge(1, None, scope="own", reserved=Decimal("0.5"))
    header, first, second = csv_rows(JUNE)
    assert header[0] == "day"
    assert first[0] == "2026-06-01"
    assert first[5:] == ["user", "", "0.5000000000", "no"]
    assert second == [
        "2026-06-02",
        str(run),
        "joke",
        "a/b",
        "ada",
        "site",
        "0.0000012000",
        "0.0000000000",
        "yes",
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n=1", "'\n'=1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a/b;=1", "a/b;'=1"),  # there a spreadsheet that separates by semicolons begins a cell
        ("a/b\n@SUM(A1)", "a/b\n'@SUM(A1)"),
    ],
)
def test_text_that_a_spreadsheet_would_calculate_is_made_text(text, written):
    charge(1, "1", model=text)
    assert list(csv_rows(JUNE))[1][3] == written


def test_ordinary_text_of_the_file_stays_as_it_is():
    for text in ("mistralai/mistral-small", "ada+shop@example.com", "a=b", ""):
        assert as_text(text) == text


def test_many_charges_are_summed_up_at_once():
    ada = make_user("ada")
    periods = [BudgetPeriod.objects.create(budget=pot(), starts=date(2026, 6, day)) for day in range(1, 31)]
    Charge.objects.bulk_create(
        [
            Charge(
                period=periods[number % 30],
                run_uuid=uuid4(),
                chain_slug=f"chain-{number % 7}",
                model=f"m/{number % 11}",
                user=ada if number % 2 else None,
                settled=Decimal("0.001"),
            )
            for number in range(20_000)
        ],
        batch_size=5_000,
    )
    begun = time.process_time()
    found = report(JUNE)
    taken = time.process_time() - begun
    assert (found.total.runs, found.total.total) == (20_000, Decimal(20))
    assert taken < 5  # about half a second; a query for each row would take a minute
