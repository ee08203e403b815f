"""up, status and down: everything that keeps the models of a project going, in the background, on this machine only."""

from flows.up.commands import bring_down, bring_up, look
from flows.up.parts import check_recipes

__all__ = ["bring_down", "bring_up", "check_recipes", "look"]
