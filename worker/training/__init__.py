"""Training runs: the snapshot's pack, the fit, the gate."""
