"""`python -m llava_edge` is the command line."""

from llava_edge.cli.entry import main

if __name__ == "__main__":
    main()
