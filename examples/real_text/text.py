"""Real text as the input of a layer.

The Python language reference that ships with CPython becomes one token a byte;
a token's vector is its byte's embedding plus its position's.
"""

from pydoc_data import topics

import numpy as np


def language_reference() -> bytes:
    """The text of every topic, in the order of the topics' names, as UTF-8."""
    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics)).encode("utf-8")


def embed(text: bytes, hidden_size: int, seed: int = 0) -> np.ndarray:
    """Vectors of the bytes of `text`, float32 [len(text), hidden_size], each of
    mean square 1. Equal seeds give equal vectors."""
    generator = np.random.default_rng(seed)
    embedding = generator.standard_normal((256, hidden_size), np.float32)
    # Waves from one token to the whole window long, of a fixed random phase.
    wavelength = np.geomspace(2, max(len(text), 4), hidden_size)
    phase = generator.uniform(0, 2 * np.pi, hidden_size)
    positions = np.arange(len(text))[:, None]
    wave = np.sqrt(2) * np.sin(2 * np.pi * positions / wavelength + phase)
    x = embedding[np.frombuffer(text, np.uint8)] + wave.astype(np.float32)
    return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True))
