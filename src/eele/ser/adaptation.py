"""What of a recogniser is trained beside its head, and how all of it is read, set and stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eele.config.recognition import MethodConfig, RecogniserTrainingConfig
from eele.errors import CheckpointError
from eele.peft import method
from eele.peft.base import AdapterSpec, Attachment
from eele.ser.model import Recogniser
from eele.ser.sites import encoder_sites

HEAD, ADAPTER = "head.", "encoder."


class Adaptation:
    """One method on one recogniser's encoder: `head` leaves the encoder alone, others attach to its sites."""

    def __init__(
        self, recogniser: Recogniser, config: MethodConfig, training: RecogniserTrainingConfig
    ) -> None:
        """Freeze the encoder and attach; new weights come from torch's random state.

        Raises ConfigError where the method makes no sense at a site.
        """
        self._recogniser = recogniser
        self._method = None if config.method == "head" else method(config.method)
        self.attached = Attachment()
        size = config.size or 0
        alpha = float(size) if training.lora_alpha is None else training.lora_alpha
        self.spec = AdapterSpec(config.method, config.sites, size, alpha, training.dropout)
        encoder = recogniser.encoder
        for parameter in encoder.parameters():
            parameter.requires_grad_(False)
        if self._method is not None:
            sites = encoder_sites(encoder)
            self.attached = self._method.attach(encoder, sites, self.spec)

    @property
    def parameters(self) -> dict[str, int]:
        """Weights that train: in the encoder, and in the head."""
        return {
            "encoder": sum(
                p.numel() for p in self._recogniser.encoder.parameters() if p.requires_grad
            ),
            "head": sum(p.numel() for p in self._recogniser.head.parameters()),
        }

    def state(self) -> dict[str, Tensor]:
        """All that is trained, on the CPU."""
        head = self._recogniser.head.state_dict()
        state = {f"{HEAD}{key}": value.detach().cpu().clone() for key, value in head.items()}
        if self._method is not None:
            adapter = self._method.state(self._recogniser.encoder)
            state.update({f"{ADAPTER}{key}": value for key, value in adapter.items()})
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set all that is trained; names and shapes must match exactly (CheckpointError)."""
        head = {k.removeprefix(HEAD): v for k, v in state.items() if k.startswith(HEAD)}
        adapter = {k.removeprefix(ADAPTER): v for k, v in state.items() if k.startswith(ADAPTER)}
        if self._method is None and adapter:
            raise CheckpointError("the weights hold an adapter; method head has none")
        try:
            self._recogniser.head.load_state_dict(head)
        except RuntimeError as error:
            raise CheckpointError(f"weights do not fit the recogniser's head: {error}") from error
        if self._method is None:
            return
        if self.spec.method == "full":
            # `Full.load` keeps the base beside the tuned weights, to scale between them; here they are set.
            self._recogniser.encoder.load_state_dict(adapter)
        else:
            self._method.load(self._recogniser.encoder, adapter)

    def facts(self) -> dict[str, Any]:
        """Plain values that tell this adaptation from another."""
        return {**self.spec.as_dict(), "wrapped": self.attached.wrapped}
