"""Videos, their analyses and verdicts, and the reviews that people give them."""
