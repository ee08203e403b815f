"""One run of one recipe: the graph of dvc.yaml, its stages through DVC, and what Prefect's pages show of them."""
