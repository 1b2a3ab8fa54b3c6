"""Log-probabilities of the learned tokens of a batch: what SFT sums and RL weighs.

Only the positions that predict a learned token go through the head, a chunk at a time, and a chunk's scores over the
vocabulary are made again for the backward pass: they never all exist at once. With 150,000 words and 16,000 tokens
they would take 10 GB, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.batches import Batch


class Likelihood(nn.Module):
    """A student that answers with log-probabilities. The whole of it goes to accelerate, so that all of its passes are
    synchronised."""

    def __init__(self, student: Any, chunk: int = 512, suppressed: Sequence[int] = ()) -> None:
        super().__init__()
        self.student: Any = student
        self.chunk = chunk
        self.suppressed = list(suppressed)
        """Token ids that sampling can't give, so that they have no part in the sum."""
        # accelerate's FSDP asks the module that it is given which of its parts belong together
        self._no_split_modules = getattr(student, "_no_split_modules", None)

    def tie_weights(self) -> None:
        """Make embedding and head one again where they were: accelerate's FSDP asks for it once it has sharded them."""
        self.student.tie_weights()

    def forward(self, batch: Batch) -> torch.Tensor:
        """float32 [learned tokens]: the log-probability of each, row by row."""
        core = self.student.get_base_model() if hasattr(self.student, "get_base_model") else self.student
        hidden = core.model(**batch.model_inputs).last_hidden_state
        predicts, targets = batch.learn[:, 1:], batch.input_ids[:, 1:][batch.learn[:, 1:]]
        states = hidden[:, :-1][predicts]
        if len(states) <= self.chunk:
            return self._scored(core.lm_head, states, targets)
        parts = [
            checkpoint(self._scored, core.lm_head, *part, use_reentrant=False)
            for part in zip(torch.split(states, self.chunk), torch.split(targets, self.chunk), strict=True)
        ]
        return torch.cat(parts)

    def _scored(self, head: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        scores = head(states).float()
        if self.suppressed:
            scores = scores.index_fill(1, torch.tensor(self.suppressed, device=scores.device), float("-inf"))
        return -nn.functional.cross_entropy(scores, targets, reduction="none")
