"""Data sets, packs of face crops, identity splits, augmentation."""
