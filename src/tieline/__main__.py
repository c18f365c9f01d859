"""`python -m tieline`: the same as the `tieline` command."""

from tieline.app import main

if __name__ == "__main__":
    main()
