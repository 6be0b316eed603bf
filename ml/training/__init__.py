"""Train the classifier: the frame stage, the sequence stage, calibration."""
