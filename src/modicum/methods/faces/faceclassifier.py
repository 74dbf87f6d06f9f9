"""A network from scratch whose last layer names one of the people it was trained on.

This is what the paper does with VGG16 and ResNet50, less the pre-training; it knows nobody else and
refuses nobody. It is here to be measured against an embedding with a gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from modicum import bundle
from modicum.data.fetching import sha256
from modicum.errors import DataError, NotFittedError, SettingError
from modicum.methods.faces.classic import EMBEDDING, VGG16, ResNet50, read_weights
from modicum.methods.faces.manifest import MaskedFaces, require_faces
from modicum.methods.faces.student import COVER_FROM, as_input
from modicum.training.loop import train
from modicum.training.progress import ProgressBar
from modicum.training.rows import RowBatch
from modicum.training.settings import TrainingFields

NETWORKS = {"resnet50": ResNet50, "vgg16": VGG16}
SHIFT, LIGHT = 8, 0.2
"""Augmentation moves a face by at most so many pixels, and its light by this share."""
ERASED = 0.25
"""Share of faces whose lower half is painted over in training."""


class Network(nn.Module):
    """An embedding and a linear layer over people."""

    def __init__(self, body: nn.Module, people: int) -> None:
        super().__init__()
        self.body = body
        self.people = nn.Linear(EMBEDDING, people)

    def forward(self, faces: Tensor) -> Tensor:
        logits: Tensor = self.people(self.body(faces).relu())
        return logits

    def losses(self, batch: RowBatch) -> dict[str, Tensor]:
        return {"softmax": cross_entropy(self(batch["faces"]), batch["person"])}


@dataclass(frozen=True)
class AugmentedSquares:
    """Aligned faces in batches, each epoch flipped, moved, lit and erased anew.

    Args:
        squares: (N, 160, 160, 3) RGB bytes.
        people: (N,) whose they are.
        batch_size: faces in a batch.
        side: pixels that the network reads.
        seed: of order and augmentation; a batch depends on it, on the epoch and on its own number.
    """

    squares: np.ndarray
    people: np.ndarray
    batch_size: int
    side: int
    seed: int

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.squares) // self.batch_size)

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[RowBatch]:
        """Yield the batches of an epoch, without the first ``skip``."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.squares))
        for number, rows in enumerate(np.array_split(order, len(self))):
            if number >= skip:
                random = np.random.default_rng([self.seed, epoch, number])
                faces = augmented(as_input(torch.from_numpy(self.squares[rows])), random)
                person = torch.from_numpy(self.people[rows])
                yield RowBatch({"faces": resized(faces, self.side), "person": person})


def augmented(faces: Tensor, random: np.random.Generator) -> Tensor:
    """Flip, move, light and erase faces (B, 3, 160, 160), each by chance."""
    count = len(faces)
    draw = [torch.from_numpy(random.random(count) < share) for share in (0.5, ERASED)]
    faces = torch.where(draw[0][:, None, None, None], faces.flip(3), faces)
    moves = random.integers(-SHIFT, SHIFT + 1, (count, 2))
    faces = torch.stack(
        [
            torch.roll(face, tuple(move), (1, 2))
            for face, move in zip(faces, moves.tolist(), strict=True)
        ]
    )
    light = torch.from_numpy(random.uniform(1 - LIGHT, 1 + LIGHT, count)).float()
    faces = (faces * light[:, None, None, None]).clamp(-1, 1)
    lower = torch.arange(faces.shape[2]) >= COVER_FROM
    return faces.masked_fill(draw[1][:, None, None, None] & lower[None, None, :, None], 0.0)


def resized(faces: Tensor, side: int) -> Tensor:
    """Return faces (B, 3, side, side)."""
    return interpolate(faces, (side, side), mode="bilinear", antialias=True)


@dataclass(kw_only=True)
class FaceClassifier(TrainingFields):
    """Names one of the people it was trained on.

    Args:
        network: ``"resnet50"`` or ``"vgg16"``.
        side: pixels that it reads.
        weights: safetensors file to start from, with torchvision's names; none starts at random.

    Source: arXiv 2311.07475; He et al. 2016; Simonyan and Zisserman 2015.

    >>> FaceClassifier(network="vgg19").check()
    Traceback (most recent call last):
    modicum.errors.SettingError: network='vgg19' is not known; did you mean 'vgg16'?
    """

    network: Literal["resnet50", "vgg16"] = "resnet50"
    side: int = 96
    weights: Path | None = None
    batch_size: int = 32
    epochs: int = 30
    patience: int = 0

    def __post_init__(self) -> None:
        self.names: list[str] = []
        self.training_log: list[dict[str, Any]] = []
        self.lineage: dict[str, Any] = {}
        self._network: Network | None = None

    def check(self) -> None:
        """Raise SettingError where a field is out of range."""
        super().check()
        if self.side < 32:
            raise SettingError(f"side={self.side} must be 32 or more")

    def fit(
        self,
        faces: MaskedFaces,
        validation: MaskedFaces | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> FaceClassifier:
        """Learn the people of ``faces``, from photos and masked copies alike.

        Args:
            faces: what ``build`` made, or a part of it.
            validation: other photos of the same people; the epoch that names most of their masked
                copies rightly is kept. Without it, the last.
            seed: of start, order and augmentation.
            folder: of the checkpoint; a call that was stopped goes on from there.
            progress: show a bar on standard error.

        Raises:
            SettingError: a field is out of range.
            DataError: these are no built faces, or fewer than two people with a face.
            BundleError: ``weights`` do not fit.
        """
        self.check()
        require_faces(faces, validation)
        rows = faces.built.filter(pl.col("square").is_not_null())
        self.names = sorted(rows["identity"].unique())
        if len(self.names) < 2:
            raise DataError(f"{len(self.names)} people are too few to tell apart; give two or more")
        torch.manual_seed(seed)
        self._network = Network(NETWORKS[self.network](), len(self.names))
        if self.weights is not None:
            read_weights(self._network.body, self.weights)
        self.lineage = {
            "weights": None if self.weights is None else sha256(self.weights),
            "people": len(self.names),
            "photos": rows["source"].n_unique(),
            "styles": sorted(rows["style"].drop_nulls().unique()),
            "seed": seed,
        }
        people = np.searchsorted(self.names, rows["identity"].to_numpy().astype(str))
        batches = AugmentedSquares(faces.squares(rows), people, self.batch_size, self.side, seed)
        self.training_log = train(
            self._network,
            batches,
            self,
            validate=None if validation is None else self._judge(validation),
            folder=None if folder is None else Path(folder),
            fingerprint=repr((self, seed, rows["square"].to_list())),
            bar=ProgressBar(self.network, shown=progress),
        )
        return self

    @torch.inference_mode()
    def classify(self, squares: np.ndarray) -> np.ndarray:
        """Return the name (n,) for each aligned face, RGB bytes (n, 160, 160, 3)."""
        network = self._fitted
        device = next(network.parameters()).device
        faces = torch.from_numpy(squares).split(32)
        best = [
            network(resized(as_input(part), self.side).to(device)).argmax(1).cpu() for part in faces
        ]
        return np.array(self.names)[torch.cat(best).numpy()]

    def save(self, folder: str | Path) -> Path:
        """Write the fitted classifier, with the names of its people.

        Raises:
            NotFittedError: it is not fitted.
        """
        saved = bundle.Bundle(
            method="faces.faceclassifier",
            settings={field.name: getattr(self, field.name) for field in fields(self)}
            | {"weights": None},
            tables={"people": pl.DataFrame({"name": self.names})},
            weights=self._fitted.state_dict(),
            training_log=self.training_log,
            lineage=self.lineage,
            purpose=f"Names one of {len(self.names)} people, with and without a mask.",
            limits="It names one of its people whoever is shown, and its folder holds their names.",
        )
        return bundle.save(saved, Path(folder))

    @classmethod
    def of_bundle(cls, saved: bundle.Bundle) -> FaceClassifier:
        """Make the classifier that a bundle holds."""
        model = cls(**saved.settings)
        model.names = saved.tables["people"]["name"].to_list()
        with torch.device("meta"):
            network = Network(NETWORKS[model.network](), len(model.names))
        bundle.require_shapes(network, saved.weights)
        network.load_state_dict(dict(saved.weights), assign=True)
        model._network = network.eval().requires_grad_(False)
        model.training_log, model.lineage = saved.training_log, saved.lineage
        return model

    @property
    def _fitted(self) -> Network:
        if self._network is None:
            raise NotFittedError("the classifier is not fitted; call fit()")
        return self._network

    def _judge(self, faces: MaskedFaces) -> Callable[[], float]:
        rows = faces.built.filter(pl.col("square").is_not_null() & pl.col("style").is_not_null())
        squares, names = faces.squares(rows), rows["identity"].to_numpy()
        return lambda: float((self.classify(squares) == names).mean())
