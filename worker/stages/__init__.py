"""What the worker does with a video, one module per stage."""
