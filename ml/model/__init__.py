"""The network, its weights, and inference with it."""
