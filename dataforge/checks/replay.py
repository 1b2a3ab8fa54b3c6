"""Replay: the recorded calls, run again, show the recorded pixels."""

from typing import ClassVar

from dataforge.episode import replay
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict


class Replay(Check):
    """Every recorded call, run again with the recorded options, gives the recorded observation and pixel hashes."""

    opens_pictures: ClassVar[bool] = True
    reasons: ClassVar[tuple[str, ...]] = (
        "views",
        "geometry",
        "pixels",
        "observation",
        "unknown_operation",
        "missing_media",
        "media_changed",
        "media_unreadable",
    )

    def complaint(self, verdict: Verdict) -> str:
        return ""  # the looks are not the teacher's

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        try:
            for reason, detail in replay(trace, kit.store):
                return self.failed(reason, detail)
        except ExampleError as error:
            known = error.reason if error.reason in self.reasons else "media_unreadable"
            return self.failed(known, str(error))
        except UsageError as error:
            return self.failed("unknown_operation", str(error))
        return self.passed()
