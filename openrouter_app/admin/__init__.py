"""Where staff edit prompts, tools and chains, publish them, and look at versions and runs.

Stock admin pages with one stylesheet and one small module, no inline script or style, so they
work under the site's Content-Security-Policy, in light and dark.
"""

from .chains import ChainAdmin
from .prompts import PromptTemplateAdmin
from .runs import RunAdmin
from .tools import ToolSpecAdmin
from .versions import ChainVersionAdmin

__all__ = ["ChainAdmin", "ChainVersionAdmin", "PromptTemplateAdmin", "RunAdmin", "ToolSpecAdmin"]
