"""Video to faces to verdict, without Django and without Celery: usable from a notebook."""
