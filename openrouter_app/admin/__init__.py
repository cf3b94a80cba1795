"""Where staff edit prompts, tools and chains, publish them, look at versions, conversations and runs, and
decide on the tool calls that wait for them.

Stock admin pages with one stylesheet and one small module, no inline script or style, so they
work under the site's Content-Security-Policy, in light and dark.
"""

from .budgets import BudgetAdmin, ChargeAdmin
from .catalogue import CatalogueModelAdmin
from .chains import ChainAdmin
from .conversations import ConversationAdmin
from .keys import UserKeyAdmin
from .kill_switch import KillSwitchAdmin
from .prompts import PromptTemplateAdmin
from .runs import RunAdmin
from .spending import SpendingAdmin
from .tool_calls import ToolCallAdmin
from .tools import ToolSpecAdmin
from .versions import ChainVersionAdmin

__all__ = [
    "BudgetAdmin",
    "CatalogueModelAdmin",
    "ChainAdmin",
    "ChainVersionAdmin",
    "ChargeAdmin",
    "ConversationAdmin",
    "KillSwitchAdmin",
    "PromptTemplateAdmin",
    "RunAdmin",
    "SpendingAdmin",
    "ToolCallAdmin",
    "ToolSpecAdmin",
    "UserKeyAdmin",
]
