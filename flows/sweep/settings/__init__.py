"""The settings that a sweep searches: the plan, their space, and the writing of the best into params.yaml."""
