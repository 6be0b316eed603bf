"""Evidence reports as signed bundles: the key, the format, and the check of a file.  Neither rows nor storage."""
