"""`python -m ml.bench`: measure training against its floor."""

from ml.bench.training_speed import main

if __name__ == "__main__":
    raise SystemExit(main())
