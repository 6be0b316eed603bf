"""What a file says of where it comes from: its metadata, and its C2PA manifest."""
