"""A multi-layer perceptron: rows of numbers in, logits out."""
