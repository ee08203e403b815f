"""`python -m flows.cli`: the same as `modelyard`."""

from flows.cli import main

main()
