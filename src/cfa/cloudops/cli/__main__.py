"""`python -m cfa.cloudops.cli` is `cloudops`."""

from cfa.cloudops.cli import main

if __name__ == "__main__":
    main()
