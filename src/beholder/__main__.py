"""python -m beholder: what torchrun starts."""

from beholder.cli import main

if __name__ == "__main__":
    main()
