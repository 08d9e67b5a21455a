"""`python -m converters` is `vit-duet`."""

from converters.cli import main

if __name__ == "__main__":
    main()
