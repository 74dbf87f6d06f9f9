"""Masked face recognition: FaceNet for bare faces, and a student of it that reads around the eyes.

Both readings come from one network with shared first stages. The student sees the aligned face with
all below the eyes painted over, whether a mask is worn or not, and learns to give the embedding
that the whole bare face has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from modicum import bundle
from modicum.errors import DataError, NotFittedError, SettingError
from modicum.methods.faces.alignment import SIDE, aligned
from modicum.methods.faces.dataset import most_central
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.features import AT_ONCE, Features, digest, features_of, in_fast_order
from modicum.methods.faces.inception import EMBEDDING, InceptionResNetV1, facenet
from modicum.methods.faces.landmarks import FaceMesh, Landmarker
from modicum.methods.faces.manifest import MaskedFaces, require_faces
from modicum.methods.faces.model_files import FACENET
from modicum.methods.faces.pictures import read_picture
from modicum.methods.faces.student import (
    LAST,
    CosineHead,
    Lesson,
    SoftmaxHead,
    Stage,
    TwoReadings,
    as_input,
    lower_half,
)
from modicum.methods.faces.verification import Pairs
from modicum.training.loop import train
from modicum.training.processes import Processes
from modicum.training.progress import ProgressBar
from modicum.training.rows import Rows
from modicum.training.settings import TrainingFields

LIMITS = (
    "It recognises people, and errs: more often for people who are unlike those it was trained on, "
    "by age, sex or skin, and with masks on. Use it with the consent of those who are enrolled, "
    "where the law allows it, never as the only ground of a decision about a person. Embeddings are "
    "personal data: a face can be found by them."
)


@dataclass(kw_only=True)
class MaskedFaceRecognizer(TrainingFields):
    """Embeddings of faces, bare or masked.

    Args:
        stages: what learns, one after the other, each for ``epochs``: ``"head"``, the last linear
            layer; ``"last"``, the last blocks. Empty: FaceNet as it was released, with the covered
            reading untrained.
        head: ``"softmax"`` over the people trained on, or ``"cosine"`` with a margin.
        teach: weight of the student's distance from the bare face's embedding.
        classify: weight of the head, to name the people trained on; where they are a few dozen it
            makes others harder to tell.

    Source: arXiv 2311.07475 (the task); Schroff et al. 2015 (FaceNet); Hinton et al. 2015
    (teacher and student).

    >>> MaskedFaceRecognizer(stages=("last", "body")).check()
    Traceback (most recent call last):
    modicum.errors.SettingError: stages=('last', 'body') must be of 'head' and 'last'
    """

    stages: tuple[Stage, ...] = ("last",)
    head: Literal["softmax", "cosine"] = "cosine"
    teach: float = 1.0
    classify: float = 0.0
    batch_size: int = 64
    epochs: int = 2
    patience: int = 2
    learning_rate: float = 3e-5
    warmup_steps: int = 10

    def __post_init__(self) -> None:
        self.stages = tuple(self.stages)
        self.landmarker: Landmarker = FaceMesh()
        self.training_log: list[dict[str, Any]] = []
        self.lineage: dict[str, Any] = {}
        self._network: TwoReadings | None = None

    def check(self) -> None:
        """Raise SettingError where a field is out of range."""
        super().check()
        if not set(self.stages) <= {"head", "last"}:
            raise SettingError(f"stages={self.stages} must be of 'head' and 'last'")
        if self.head not in ("softmax", "cosine"):
            raise SettingError(f"head={self.head!r} must be 'softmax' or 'cosine'")
        for name in ("teach", "classify"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")
        if self.stages and not self.teach + self.classify:
            raise SettingError("teach=0 and classify=0 leave nothing to learn; raise one of them")

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return EMBEDDING

    @property
    def network(self) -> TwoReadings:
        """The network that ``fit`` has trained."""
        if self._network is None:
            raise NotFittedError("the recognizer is not fitted; call fit(), or mo.load()")
        return self._network

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: embeddings of another model are not comparable."""
        return digest(self.network)

    def fit(
        self,
        faces: MaskedFaces,
        validation: MaskedFaces | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> MaskedFaceRecognizer:
        """Learn from photos and their masked copies.

        The features below what learns are computed once, and kept in the folder of ``faces``.

        Args:
            faces: what ``build`` made, or a part of it.
            validation: other people of the same folder; the epoch with the best TAR at FAR 1e-2 is kept. Without
                it, the last.
            seed: of order and head.
            folder: of checkpoints; a call that was stopped goes on from there.
            progress: show bars on standard error.

        Raises:
            SettingError: a field is out of range.
            DataError: these are no built faces, fewer than two people, or nobody with a photo and a
                masked copy.
            ResourceError: FaceNet is not in the cache and cannot be fetched.
        """
        self.check()
        require_faces(faces, validation)
        torch.manual_seed(seed)
        released = facenet()
        self._network = TwoReadings(released.stages, LAST).eval()
        pairs = _pairs(faces)
        people = pairs["identity"].rank("dense").to_numpy().astype(np.int64) - 1
        if len(pairs) == 0 or people.max() < 1:
            raise DataError(
                "two people with a photo and a masked copy each are the least to fit on"
            )
        self.lineage = {
            "weights": {"name": "FaceNet", "sha256": FACENET.sha256, "licence": FACENET.licence},
            "people": int(people.max()) + 1,
            "photos": pairs["source"].n_unique(),
            "styles": sorted(pairs["style"].unique()),
            "seed": seed,
        }
        self.training_log = []
        place = None if folder is None else Path(folder)
        bar = ProgressBar("masked faces", shown=progress)
        features = features_of(self._network, faces, progress=progress)
        copies, _ = features.of(pairs["square"])
        photos, teacher = features.of(pairs["photo_square"])
        looks = [
            torch.cat([lower_half(as_input(part)) for part in torch.from_numpy(squares).split(128)])
            for squares in (
                faces.squares(pairs.select(square="photo_square").unique(maintain_order=True)),
                faces.squares(pairs),
            )
        ]
        self._network.tell_masks(*looks)
        columns = {"copy": copies, "photo": photos, "teacher": teacher}
        columns["person"] = torch.from_numpy(people)
        heads = {"softmax": SoftmaxHead, "cosine": CosineHead}
        lesson = Lesson(
            self._network,
            heads[self.head](EMBEDDING, int(people.max()) + 1),
            teach=self.teach,
            classify=self.classify,
        )
        judge = None if validation is None else self._judge(features, validation)
        for number, stage in enumerate(self.stages):
            lesson.train_only(stage)
            key = hashlib.sha256(
                repr((asdict(self), seed, stage, sorted(pairs["picture"]))).encode()
            )
            log = train(
                lesson,
                Rows(columns, batch_size=self.batch_size, seed=seed, processes=Processes.join()),
                self,
                validate=judge,
                folder=None if place is None else place / f"{number}-{stage}",
                fingerprint=key.hexdigest(),
                bar=bar,
            )
            self.training_log += [record | {"stage": stage} for record in log]
        self._network = lesson.network.cpu().eval().requires_grad_(False)
        return self

    def embed(self, pictures: Sequence[str | Path | np.ndarray]) -> Embeddings:
        """Return the embeddings of the face in each picture, of several the most central.

        Args:
            pictures: files, or RGB bytes (H, W, 3).

        Raises:
            DataError: a picture cannot be read, or has no face; the message says which.
            NotFittedError: the recognizer is not fitted.
        """
        if isinstance(pictures, str | Path):
            raise DataError(
                f"pictures={str(pictures)!r} must be a list of pictures, if only of one"
            )
        squares = np.empty((len(pictures), SIDE, SIDE, 3), np.uint8)
        for at, given in enumerate(pictures):
            picture = given if isinstance(given, np.ndarray) else read_picture(given)
            faces = self.landmarker(picture)
            if not faces:
                name = f"picture {at}" if isinstance(given, np.ndarray) else str(given)
                raise DataError(f"no face: {name}; use a picture with one face, upright and large")
            squares[at] = aligned(picture, most_central(faces, picture.shape[:2]))
        return self.embed_squares(squares)

    @torch.inference_mode()
    def embed_squares(self, squares: np.ndarray) -> Embeddings:
        """Return the embeddings of aligned faces, RGB bytes (n, 160, 160, 3)."""
        network = self.network.eval()
        parts = [Embeddings.empty(EMBEDDING)]
        for batch in torch.from_numpy(squares).split(AT_ONCE):
            whole, covered, state = network(in_fast_order(as_input(batch)))
            parts.append(Embeddings(whole.numpy(), covered.numpy(), (state > 0).numpy()))
        return Embeddings.joined(parts)

    def save(self, folder: str | Path) -> Path:
        """Write the model; neither photos nor FaceNet's file are needed to load it."""
        network = self.network
        saved = bundle.Bundle(
            method="faces.maskedfacerecognizer",
            settings=self.settings(),
            tables={},
            weights=network.state_dict(),
            training_log=self.training_log,
            lineage=self.lineage,
            purpose="Embeddings that tell people apart, with and without a mask.",
            limits=LIMITS,
        )
        return bundle.save(saved, Path(folder))

    @classmethod
    def of_bundle(cls, saved: bundle.Bundle) -> MaskedFaceRecognizer:
        """Make the model that a bundle holds."""
        model = cls(**saved.settings)
        with torch.device("meta"):
            network = TwoReadings(InceptionResNetV1().stages, LAST)
        bundle.require_shapes(network, saved.weights)
        network.load_state_dict(dict(saved.weights), assign=True)
        model._network = network.eval().requires_grad_(False)
        model.training_log, model.lineage = saved.training_log, saved.lineage
        return model

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"stages": list(self.stages)}

    @torch.inference_mode()
    def embed_features(self, features: Features, squares: pl.Series, *, masked: bool) -> Embeddings:
        """Return the embeddings of faces whose shared features are known.

        Args:
            features: of the folder that the faces are in.
            squares: names of the aligned faces in the manifest.
            masked: whether a mask is worn.
        """
        network = self.network
        device = next(network.parameters()).device
        covered, whole = features.of(squares)
        parts = [network.student(part.float().to(device)) for part in covered.split(128)]
        student = torch.nn.functional.normalize(torch.cat(parts)).cpu()
        return Embeddings(whole.numpy(), student.numpy(), np.full(len(squares), masked))

    def _judge(self, features: Features, faces: MaskedFaces) -> Callable[[], float]:
        """Return what gives the TAR at FAR 1e-2 of bare photos against masked copies."""
        pairs = _pairs(faces)

        def value() -> float:
            photos = self.embed_features(features, pairs["photo_square"], masked=False)
            copies = self.embed_features(features, pairs["square"], masked=True)
            return Pairs.of(photos.similarity(copies, worn=True), pairs, pairs).tar(1e-2).value

        return value


def _pairs(faces: MaskedFaces) -> pl.DataFrame:
    """Return the masked copies with a face, with ``photo_square`` of the photo each was made of."""
    frame = faces.built.filter(pl.col("square").is_not_null())
    photos = frame.filter(pl.col("style").is_null())
    photos = photos.select("source", pl.col("square").alias("photo_square"))
    copies = frame.filter(pl.col("style").is_not_null())
    return copies.join(photos, on="source", maintain_order="left")
