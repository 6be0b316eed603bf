"""`python -m ml.compare`: the promotion gate without a database."""

from ml.training.compare import main

if __name__ == "__main__":
    raise SystemExit(main())
