"""All writes: one module per subject, keyword-only arguments, one transaction per call."""
