"""The samples of a report: the first traces of each kind, of each reason for rejection, and the first failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataforge.records import Failure, Trace
from dataforge.report.counting import first_reason

SAMPLES_KEPT = 12
SAMPLES_REJECTED = 8
"""At least; one of each reason when there are more reasons."""
HELD = 12
"""Traces held of each kind, or of each reason, until it is known how many kinds and reasons there are."""
REASONS_HELD = 24
FAILURES_SHOWN = 20
FAILURES_OF_ONE_REASON = 5


@dataclass
class Samples:
    """The first few traces of each kind and of each reason for rejection, and the first failures."""

    kept: dict[str, list[Trace]] = field(default_factory=dict)
    rejected: dict[str, list[Trace]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def see(self, trace: Trace, kept: bool) -> None:
        shelf, name = (self.kept, trace.kind) if kept else (self.rejected, first_reason(trace))
        if name in shelf or len(shelf) < REASONS_HELD:
            held = shelf.setdefault(name, [])
            if len(held) < HELD:
                held.append(trace)

    def see_failure(self, failure: Failure) -> None:
        alike = sum((failure.stage, failure.reason) == (other.stage, other.reason) for other in self.failures)
        if len(self.failures) < FAILURES_SHOWN and alike < FAILURES_OF_ONE_REASON:
            self.failures.append(failure)

    def traces(self) -> list[tuple[Trace, bool]]:
        """What the page shows, and whether it is kept: by kind, then the rejected by reason, evenly."""
        rejected = _evenly(self.rejected, max(SAMPLES_REJECTED, len(self.rejected)))
        return [(trace, True) for trace in _evenly(self.kept, SAMPLES_KEPT)] + [(trace, False) for trace in rejected]


def _evenly(shelf: Mapping[str, Sequence[Trace]], most: int) -> list[Trace]:
    """The firsts of all names, then the seconds, until there are `most`; given back name by name."""
    names = sorted(shelf)
    in_turn = [(depth, name) for depth in range(HELD) for name in names if depth < len(shelf[name])]
    return [shelf[name][depth] for depth, name in sorted(in_turn[:most], key=lambda pick: (pick[1], pick[0]))]
