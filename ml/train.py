"""`python -m ml.train`: train the classifier from a pack of crops."""

from ml.training.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
