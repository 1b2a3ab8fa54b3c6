"""The three errors, told apart by who must act.

UsageError      the person: a wrong flag, path, key. Exit code 2 and one line that names the fix.
OperationError  the model: a call that cannot be run. Becomes an observation, and the episode goes on.
ExampleError    nobody: one example is spoiled. Becomes one line in failed.jsonl, and the run goes on.

Anything else that escapes is a bug and stops the run.
"""


class UsageError(Exception):
    """The person must change something; the message says what, in one line."""


class OperationError(Exception):
    """The model's call cannot be run; the message is what the model reads, `reason` is the code kept."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ExampleError(Exception):
    """One example is spoiled at `stage` for `reason`, a short code that reports count by.

    `usage` is what the call that spoiled it has cost: tokens in, tokens out, US dollars.
    """

    def __init__(self, stage: str, reason: str, detail: str = "", usage: tuple[int, int, float] = (0, 0, 0.0)) -> None:
        super().__init__(f"{stage}: {reason}" + (f" ({detail})" if detail else ""))
        self.stage = stage
        self.reason = reason
        self.detail = detail
        self.usage = usage

    def __reduce__(self) -> tuple[type["ExampleError"], tuple[str, str, str, tuple[int, int, float]]]:
        return ExampleError, (self.stage, self.reason, self.detail, self.usage)
