"""Videos, their analyses and verdicts, and what people say of them."""
