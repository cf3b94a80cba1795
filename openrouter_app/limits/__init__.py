"""May it run, and who pays: the kill switch, how much at once and a minute, and budgets with their ledger."""
