"""The search for neighbours: training users who are alike elsewhere, and what is known of them in a domain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modicum.errors import BundleError

SIMILARITIES_PER_BLOCK = 2**24


class Neighbours(nn.Module):
    """An index of training users for each domain: a key to be found by, and a vector to be lent.

    All keys are compared, in blocks. An index of U users takes 8 U D bytes.

    Args:
        num_domains: of the log.
        dim: width D of keys and vectors.
        k: neighbours of a query; fewer where the index has fewer users.
        temperature: of the softmax over cosines; the smaller, the more the nearest counts.

    >>> neighbours = Neighbours(1, dim=2, k=1, temperature=0.1)
    >>> neighbours.keep(0, keys=torch.eye(2), vectors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> neighbours.lent(0, torch.tensor([[0.1, 5.0]]))
    tensor([[3., 4.]])
    """

    def __init__(self, num_domains: int, dim: int, *, k: int, temperature: float) -> None:
        super().__init__()
        self.num_domains = num_domains
        self.k = k
        self.temperature = temperature
        for domain in range(num_domains):
            for name in ("keys", "vectors"):
                self.register_buffer(f"{name}{domain}", torch.empty(0, dim), persistent=False)
            self.register_buffer(f"centre{domain}", torch.zeros(1, dim), persistent=False)

    def keep(self, domain: int, keys: Tensor, vectors: Tensor) -> None:
        """Replace the index of a domain by users with ``keys`` (U, D) and ``vectors`` (U, D)."""
        centre = keys.mean(0, keepdim=True)
        setattr(self, f"centre{domain}", centre)
        setattr(self, f"keys{domain}", F.normalize(keys - centre, dim=1))
        setattr(self, f"vectors{domain}", vectors)

    def forget(self) -> None:
        """Empty the index of every domain."""
        for domain in range(self.num_domains):
            none = self.get_buffer(f"keys{domain}")[:0]
            self.keep(domain, none, none)

    def size(self, domain: int) -> int:
        """Return the number of users in the index of a domain."""
        return len(self.get_buffer(f"keys{domain}"))

    def nearest(self, domain: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines (B, k) and positions (B, k) of the users whose keys are most alike."""
        keys, queries = (
            self.get_buffer(f"keys{domain}"),
            F.normalize(queries - self.get_buffer(f"centre{domain}"), dim=1),
        )
        block = max(1, SIMILARITIES_PER_BLOCK // max(1, len(queries)))
        best, at = queries.new_empty(len(queries), 0), queries.new_empty(len(queries), 0).long()
        for begin in range(0, len(keys), block):
            alike = queries @ keys[begin : begin + block].T
            place = torch.arange(begin, begin + alike.shape[1], device=at.device).expand_as(alike)
            best, at = torch.cat([best, alike], dim=1), torch.cat([at, place], dim=1)
            best, chosen = best.topk(min(self.k, best.shape[1]), dim=1)
            at = at.gather(1, chosen)
        return best, at

    def lent(self, domain: int, queries: Tensor) -> Tensor:
        """Return (B, D): the mean of the neighbours' vectors, weighted by how alike they are."""
        alike, at = self.nearest(domain, queries)
        weights = torch.softmax(alike / self.temperature, dim=1)
        return (weights[:, :, None] * self.get_buffer(f"vectors{domain}")[at]).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is kept, by name."""
        return dict(self.named_buffers())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what ``tensors`` gave.

        Raises:
            BundleError: keys and vectors of a domain are missing, or not of one shape.
        """
        for name, buffer in self.tensors().items():
            shape = tensors[name].shape if name in tensors else None
            fellow = tensors.get(name.replace("keys", "vectors"))
            if shape is None or shape[1:] != buffer.shape[1:] or fellow is None:
                raise BundleError(f"the neighbours lack {name}, or it has another width")
            if fellow.shape != shape:
                raise BundleError(f"the neighbours have {name} and {len(fellow)} vectors")
            setattr(self, name, tensors[name].clone())
