"""What was spent, by day, chain, model and user: sums of the ledger, a chart and a table of values.

Two pots hold a charge for every run that cost something, the site's daily one and that of what users pay
themselves (`Budget`); all sums are of these two. They outlive runs, users and chains.
"""

from .chart import Bar, Chart, chart_of
from .export import csv_rows
from .report import Filters, Group, Report, report

__all__ = ["Bar", "Chart", "Filters", "Group", "Report", "chart_of", "csv_rows", "report"]
