"""What is stored. Staff edit prompts, tools and chains; publishing freezes a version; a run executes one.

=================  =============================================================
`PromptTemplate`   ordered `PromptRow` rows: a role and a text with variables
`ToolSpec`         a tool a model may call
`Chain`            prompt, model, tools, options; who may run it
`ChainVersion`     a chain by value, as it was published; never changes
`Label`            a name that points to a version; `DEFAULT_LABEL` is what runs
`Run`              one execution of one version, and its result
`Conversation`     the tree of `Message` rows somebody sees, and where it ends
`ToolCall`         a call that acts, with its approval
`RunEvent`         the log of a run that has not ended
`ModelCall`        a generation, with what it cost
`UserKey`          a user's own key at OpenRouter, sealed
`SignIn`           a sign-in at OpenRouter that has begun
`OfferedKey`       a key that came while there was another
`Budget`           a pot for a day or a month, with its `BudgetPeriod` and its `Charge` rows
`Hit`              what counts against a limit a minute
`KillSwitch`       the row that stops everything
`CatalogueModel`   a model that OpenRouter lists
`Owner`            whose run it is (a value, not a table)
=================  =============================================================
"""

from .budgets import Budget, BudgetPeriod, Charge, Spending
from .catalogue import CatalogueModel
from .chains import Chain
from .conversations import Conversation, Message
from .hits import Hit
from .keys import OfferedKey, SignIn, UserKey
from .kill_switch import KillSwitch
from .model_calls import ModelCall
from .owners import Owner
from .prompts import PromptRow, PromptTemplate
from .runs import Run, RunEvent
from .tool_calls import ToolCall
from .tools import ToolSpec
from .versions import DEFAULT_LABEL, ChainVersion, ImmutableError, Label

__all__ = [
    "DEFAULT_LABEL",
    "Budget",
    "BudgetPeriod",
    "CatalogueModel",
    "Chain",
    "ChainVersion",
    "Charge",
    "Conversation",
    "Hit",
    "ImmutableError",
    "KillSwitch",
    "Label",
    "Message",
    "ModelCall",
    "OfferedKey",
    "Owner",
    "PromptRow",
    "PromptTemplate",
    "Run",
    "RunEvent",
    "SignIn",
    "Spending",
    "ToolCall",
    "ToolSpec",
    "UserKey",
]
