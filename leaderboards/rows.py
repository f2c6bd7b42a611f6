"""A row of a table as the page shows it: its name, its style, its standing under each access level."""

from __future__ import annotations

from dataclasses import dataclass, field

from leaderboards.board import Row
from leaderboards.charts import Style
from leaderboards.ranking import Standing

__all__ = ["PUBLISH", "RowView"]

PUBLISH = "publish="
"""How the parameter begins that says how a release was perturbed before it was published."""


@dataclass
class RowView:
    """A row of a table; ``views`` has its standing under each access level."""

    row: Row
    style: Style
    told_apart_by: list[str]
    all_params: list[str]
    views: list[Standing] = field(default_factory=list)
    id: str = ""
    page: str = ""
    """Where the page with all of its figures is, from the board; empty where there is none."""

    @property
    def label(self) -> str:
        """The name with the parameters that tell it from its namesakes."""
        apart = ", ".join(t for t in self.told_apart_by if not t.startswith(PUBLISH))
        published = "".join(
            f" + {t.removeprefix(PUBLISH)}" for t in self.told_apart_by if t.startswith(PUBLISH)
        )
        return (f"{self.row.method} ({apart})" if apart else self.row.method) + published

    @property
    def told_apart(self) -> str:
        """What tells it from its namesakes, as shown below its name; long names may break before a bracket."""
        texts = [
            f"+ {text.removeprefix(PUBLISH)}" if text.startswith(PUBLISH) else text
            for text in self.told_apart_by
        ]
        return ", ".join(texts).replace(", + ", " + ").replace("(", "\u200b(")
