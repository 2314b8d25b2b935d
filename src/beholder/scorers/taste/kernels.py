"""Where two images look alike: one linear and one smooth kernel per feature block, on compressed features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

ROWS = 256  # worked on at once: what belongs to them stays in the processor's cache


@dataclass(frozen=True)
class Block:
    """One encoder layer, standardised and compressed to its principal components.

    Args:
        name: of the layer.
        start, stop: its columns in the feature vector.
        mean: [stop - start] float32.
        basis: [stop - start, k] float32; (features - mean) @ basis are the components, mean squared distance of two images ~ 1.
        length: median squared distance between training images in components; the smooth kernel is exp(-d2 / length).
    """

    name: str
    start: int
    stop: int
    mean: np.ndarray
    basis: np.ndarray
    length: float


@dataclass(frozen=True)
class Projection:
    """Features -> components of all blocks side by side ("looks"), the only thing the model sees of an image."""

    blocks: tuple[Block, ...]

    @property
    def dim(self) -> int:
        return sum(block.basis.shape[1] for block in self.blocks)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[n, d] features -> [n, dim] float64 looks."""
        out = np.empty((len(features), self.dim))
        for block, columns in zip(self.blocks, self.columns, strict=True):
            # The mean is taken off afterwards: no copy of the features.
            out[:, columns] = features[:, block.start : block.stop] @ block.basis - block.mean @ block.basis
        return out

    @property
    def columns(self) -> list[slice]:
        """The columns of each block in the looks."""
        ends = np.cumsum([0] + [block.basis.shape[1] for block in self.blocks])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @classmethod
    def learn(cls, features: np.ndarray, *, layers: Mapping[str, int], components: int) -> Projection:
        """From the features of the training images, [n, d].

        Args:
            layers: name -> width, in the order of the columns.
            components: kept per block (fewer if the block or the data have fewer).
        """
        blocks, start = [], 0
        for name, width in layers.items():
            part = np.asarray(features[:, start : start + width], dtype=np.float64)
            mean, sd = part.mean(axis=0), part.std(axis=0)
            # A unit that hardly ever fires must not be blown up to full weight.
            scale = 1.0 / (sd + 1e-2 * max(float(sd.std()), 1e-3 * float(sd.mean()), 1e-12)) / np.sqrt(width)
            _, singular, axes = np.linalg.svd((part - mean) * scale, full_matrices=False)
            keep = singular > 1e-6 * max(float(singular[0]), 1e-12)
            axes = axes[keep][:components]
            looks = ((part - mean) * scale) @ axes.T
            some = looks[:: max(1, len(looks) // 1000)]  # a median needs no more
            length = float(np.median(_squared_distances(some, some)[np.triu_indices(len(some), k=1)])) if len(some) > 1 else 1.0
            blocks.append(
                Block(
                    name=name,
                    start=start,
                    stop=start + width,
                    mean=mean.astype(np.float32),
                    basis=(scale[:, None] * axes.T).astype(np.float32),
                    length=max(length, 1e-9),
                )
            )
            start += width
        if start != features.shape[1]:
            raise ValueError(f"the layers are {start} wide together, the features {features.shape[1]}")
        return cls(tuple(blocks))

    def kernels(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Looks [n, dim] and [m, dim] -> [2 x blocks, n, m]: linear and smooth kernel of block 0, of block 1, ..."""
        out = np.empty((2 * len(self.blocks), len(a), len(b)))
        for i, (block, columns) in enumerate(zip(self.blocks, self.columns, strict=True)):
            out[2 * i] = a[:, columns] @ b[:, columns].T
            out[2 * i + 1] = np.exp(-_squared_distances(a[:, columns], b[:, columns]) / block.length)
        return out

    def kernel(self, a: np.ndarray, b: np.ndarray, *, weights: Sequence[float]) -> np.ndarray:
        """The weighted sum of `kernels`, [n, m], without holding them all; zero weights cost nothing.

        With many rows the smooth kernels are computed in float32, several times faster and within 1e-6.
        """
        out = np.empty((len(a), len(b)))
        linear = np.concatenate([np.full(c.stop - c.start, w) for w, c in zip(weights[0::2], self.columns, strict=True)])
        linear_columns = np.flatnonzero(linear > 0)
        linear_b = (b[:, linear_columns] * linear[linear_columns]).T
        kind = np.float32 if len(a) > ROWS else np.float64
        smooth = [
            (kind(weight), columns, kind(1 / block.length), _exponent_of(b[:, columns], block.length).astype(kind))
            for weight, columns, block in zip(weights[1::2], self.columns, self.blocks, strict=True)
            if weight > 0
        ]
        for start in range(0, len(a), ROWS):
            rows = a[start : start + ROWS]
            total = np.matmul(rows[:, linear_columns], linear_b, out=out[start : start + ROWS])
            rows, similar = rows.astype(kind), np.zeros(total.shape, dtype=kind)
            for weight, columns, scale, turned in smooth:
                exponent = _with_squares(rows[:, columns], scale) @ turned
                np.minimum(exponent, 0, out=exponent)
                np.exp(exponent, out=exponent)
                exponent *= weight
                similar += exponent
            total += similar
        return out

    def variance(self, a: np.ndarray, *, weights: Sequence[float]) -> np.ndarray:
        """[n]: the diagonal of `kernel(a, a)`."""
        out = np.full(len(a), float(sum(weights[1::2])))
        for linear, columns in zip(weights[0::2], self.columns, strict=True):
            out += linear * (a[:, columns] ** 2).sum(axis=1)
        return out


def _exponent_of(b: np.ndarray, length: float) -> np.ndarray:
    """Looks [m, d] -> [d + 2, m], to be multiplied by `_with_squares` of others: minus their squared distances over `length`."""
    return np.concatenate([2 / length * b, np.full((len(b), 1), -1.0), -(b**2).sum(axis=1, keepdims=True) / length], axis=1).T


def _with_squares(a: np.ndarray, scale: float) -> np.ndarray:
    """[n, d] -> [n, d + 2]."""
    out = np.empty((len(a), a.shape[1] + 2), dtype=a.dtype)
    out[:, :-2] = a
    out[:, -2] = scale * np.einsum("ij,ij->i", a, a)
    out[:, -1] = 1
    return out


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, d], [m, d] -> [n, m]."""
    distances = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    distances -= 2 * (a @ b.T)
    return np.maximum(distances, 0, out=distances)
