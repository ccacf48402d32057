"""A byte-level language model whose feed-forward layers are mixtures of experts."""
