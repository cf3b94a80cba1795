"""``python -m tests.faults.priced``: prices for the demo's models, those of the fake, and a budget."""

from __future__ import annotations

import django

django.setup()

from openrouter_app.models import Chain  # noqa: E402
from tests.pots import USD, make_pot, make_prices  # noqa: E402

for slug in Chain.objects.order_by().values_list("model", flat=True).distinct():
    make_prices(slug, prompt_price=USD("1e-7"), completion_price=USD("3e-7"), max_completion_tokens=1_000)
for period in ("day", "month"):
    make_pot("site", "1", period)
