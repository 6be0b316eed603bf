"""`python -m ml.data`: build and look at packs of face crops."""

from ml.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())
