"""`python -m dagstack_dev` is `dagstack-dev`."""

from dagstack_dev.cli.main import main

if __name__ == "__main__":
    main()
