"""What is written after a run, from the run folder alone: plots, an HTML report and the model card (no torch)."""

from .card import write_card
from .html import write_report
from .plots import write_plots

__all__ = ["write_card", "write_plots", "write_report"]
