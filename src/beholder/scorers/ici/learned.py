"""What was learned, ready to answer, and how it comes back from a folder of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beholder.backbones.torch_encoder import choose_device
from beholder.profile import Profile
from beholder.scorers.ici.adaptation import RatersGraph
from beholder.scorers.ici.backbone import make_body
from beholder.scorers.ici.model import FeatureBody, Heads, InteractionGraph
from beholder.scorers.ici.nodes import ProfileNodes
from beholder.scorers.ici.options import ICIOptions


@dataclass
class ICIModel:
    """What was learned.

    Args:
        heads: phase 1. graph: phase 2. body: how to make the body of `heads` again; None for the one on features.
        attributes: names of what phase 1 predicts, the overall score first.
        nodes: the fields of the profile.
        id_mean, id_sd: [64] of the training raters' vectors; the vectors themselves are not kept.
        shots, widths: [s] numbers of ratings and the half width of the interval there, as a share of the scale.
    """

    heads: Heads
    graph: InteractionGraph
    body: dict[str, Any] | None
    attributes: tuple[str, ...]
    nodes: ProfileNodes
    id_mean: torch.Tensor
    id_sd: torch.Tensor
    shots: np.ndarray
    widths: np.ndarray

    @property
    def device(self) -> torch.device:
        return self.id_mean.device

    def look(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features or pixels -> [n, k + bins] attributes and distribution of each image, on the processor."""
        with torch.inference_mode():
            return torch.cat(self.heads(inputs.to(self.device)), dim=1).cpu()

    def split(self, looks: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, k + bins] -> attributes [n, k] and distribution [n, bins], on the model's device."""
        looks = torch.as_tensor(looks).to(self.device)
        return looks[:, : len(self.attributes)], looks[:, len(self.attributes) :]

    def graph_for(self, profile: Profile, *, options: ICIOptions) -> RatersGraph:
        """The prior for a rater of whom only the profile is known."""
        start = self.id_mean
        if options.new_rater == "random":
            drawn = torch.randn(len(start), generator=torch.Generator().manual_seed(options.seed))
            start = start + self.id_sd * drawn.to(self.device)
        words, numbers = self.nodes([profile])
        return RatersGraph(self.graph, start=start, words=words, numbers=numbers)

    def half_width(self, n: int) -> float:
        """Of the interval after n ratings, as a share of the scale."""
        return float(np.interp(np.log1p(n), np.log1p(self.shots), self.widths))

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` takes."""
        named = {f"heads.{name}": tensor for name, tensor in self.heads.state_dict().items()}
        named |= {f"graph.{name}": tensor for name, tensor in self.graph.state_dict().items()}
        named |= {"id_mean": self.id_mean, "id_sd": self.id_sd}
        return {name: tensor.cpu().numpy() for name, tensor in named.items()}

    def config(self) -> dict[str, Any]:
        """What `from_tensors` takes beside the tensors."""
        return {
            "backbone": self.body,
            "attributes": list(self.attributes),
            "bins": self.heads.distribution.out_features,
            "mode": "full" if self.graph.full else "reduced",
            "profile_fields": self.nodes.to_json(),
            "shots": self.shots.tolist(),
            "widths": self.widths.tolist(),
        }

    @classmethod
    def from_tensors(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, device: str) -> ICIModel:
        """The model that `config` and `tensors` were taken of.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of another shape.
        """
        on, nodes = torch.device(choose_device(device)), ProfileNodes.from_json(config["profile_fields"])
        k, bins = len(config["attributes"]), int(config["bins"])
        with torch.random.fork_rng(devices=[]):  # making a network draws random numbers
            if config["backbone"] is None:
                body = FeatureBody(*(torch.from_numpy(tensors[f"heads.body.{name}"]) for name in ("mean", "sd")))
            else:
                body = make_body(config["backbone"])
            heads = Heads(body, start=torch.zeros(k), shares=torch.ones(bins))
            graph = InteractionGraph(
                attributes=torch.zeros(2, k),
                words=[len(field.words) for field in nodes.choices],
                numbers=len(nodes.numbers),
                bins=torch.zeros(bins),
                full=config["mode"] == "full",
            )
        _load(heads, tensors, prefix="heads.")
        _load(graph, tensors, prefix="graph.")
        return cls(
            heads=heads.to(on).eval().requires_grad_(False),
            graph=graph.to(on).eval().requires_grad_(False),
            body=config["backbone"],
            attributes=tuple(config["attributes"]),
            nodes=nodes,
            id_mean=torch.from_numpy(tensors["id_mean"]).to(on),
            id_sd=torch.from_numpy(tensors["id_sd"]).to(on),
            shots=np.array(config["shots"], dtype=np.float64),
            widths=np.array(config["widths"], dtype=np.float64),
        )


def _load(module: torch.nn.Module, tensors: Mapping[str, np.ndarray], *, prefix: str) -> None:
    state = {}
    for name, own in module.state_dict().items():
        found = torch.from_numpy(tensors[prefix + name])
        if found.numel() != own.numel():
            raise ValueError(f"{prefix}{name} has the shape {tuple(found.shape)}, not {tuple(own.shape)}")
        state[name] = found.reshape(own.shape)  # a number alone comes back as [1]
    module.load_state_dict(state)
