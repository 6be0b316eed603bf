"""Who is it: embeddings of faces, tracks linked into people, and patterns that are no faces."""
