"""Every write.  One module per subject; keyword-only arguments; each call is one transaction."""
