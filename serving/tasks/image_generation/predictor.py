"""The one path from a seed to the images of a generator.

`evaluate`, `compress` and `package` judge generators through it, and the service answers with it, so that what is
measured is what is served. It needs onnxruntime and numpy only. A folder that it loads holds `model.onnx` and
`predictor.json`.

Legend: S samples, Z numbers of a latent, H and W the sides of an image, N = H * W.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.bundle import reading
from serving.predictors.pictures import Images, grey_levels
from serving.predictors.session import open_session

ROUTE = "/sample"
"""The path on which the service answers."""

MODEL = "model.onnx"
SETTINGS = "predictor.json"

Latents = NDArray[np.float32]
Forward = Callable[[Latents], NDArray[np.float32]]
"""A function from latents (S, Z) to rows (S, N), from -1 for black to 1 for white."""


def load_shape(path: Path) -> tuple[int, int]:
    """Return the height and width of an image, as predictor.json has them."""
    with reading(path):
        height, width = json.loads(path.read_text(encoding="utf-8"))["shape"]
        return height, width


class Sampler:
    """A generator's forward, as one call from a seed to images."""

    def __init__(
        self, *, forward: Forward, shape: tuple[int, int], latent_size: int, batch_size: int, threads: int
    ) -> None:
        """`forward` takes batches of at most `batch_size` latents, on `threads` threads at once."""
        self.forward, self.shape, self.latent_size = forward, shape, latent_size
        self.batch_size = batch_size
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="sampler") if threads > 1 else None

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> "Sampler":
        """Return the sampler of the compressed generator in `folder`, which computes `threads` samples at once.

        Each call has one sample: int8 scales an activation by the largest value of the whole tensor, so samples that
        share a call would change each other.
        """
        session = open_session(folder / MODEL)
        (told,) = session.get_inputs()

        def forward(latents: Latents) -> NDArray[np.float32]:
            return np.asarray(session.run(["rows"], {"latents": latents})[0])

        return cls(
            forward=forward,
            shape=load_shape(folder / SETTINGS),
            latent_size=told.shape[1],
            batch_size=1,
            threads=threads,
        )

    def sample(self, seed: int, count: int) -> Images:
        """Return `count` images of a seed, (S, H, W).

        A seed always gives the same images, and a larger count begins with those of a smaller one.
        """
        return self.draw(draw_latents(seed, count, size=self.latent_size))

    def draw(self, latents: Latents) -> Images:
        """Return the image of each latent, (S, H, W), whatever other latents there are."""
        batches = [latents[start : start + self.batch_size] for start in range(0, len(latents), self.batch_size)]
        run = map if self.pool is None or len(batches) == 1 else self.pool.map
        rows = list(run(self.forward, batches))
        return grey_levels(np.concatenate(rows), shape=self.shape)


def draw_latents(seed: int, count: int, *, size: int) -> Latents:
    """Return standard normal latents (S, Z) of a seed; a larger count begins with those of a smaller one."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal((count, size), np.float32)
