"""``python -m tests.faults.ledger.seeding``: a chain with both tools, each once as it is and once for calls
that somebody has to allow.
"""

from __future__ import annotations

import django

django.setup()

from openrouter_app.models import Chain, PromptRow, PromptTemplate, ToolSpec  # noqa: E402

SCHEMA = {
    "type": "object",
    "properties": {"note": {"type": "string"}, "wait": {"type": "boolean"}},
    "required": ["note"],
}
ROWS = [("messages_placeholder", "history"), ("human", "{message}")]

prompt = PromptTemplate.objects.create(slug="ledger")
for position, (role, text) in enumerate(ROWS, 1):
    PromptRow.objects.create(template=prompt, position=position, role=role, text=text)
for approval in ("none", "owner"):
    tools = [
        ToolSpec.objects.create(
            name=name if approval == "none" else f"{name}_if_allowed",
            description="Write a note down.",
            schema=SCHEMA,
            handler=name,
            approval=approval,
        )
        for name in ("write_row", "write_line")
    ]
chain = Chain.objects.create(slug="ledger", title="Ledger", prompt=prompt, model="a/b", access="public")
chain.tools.set(ToolSpec.objects.filter(name__startswith="write_"))
chain.publish()
