"""Find faces in frames, track people and crop them."""
