"""The figures of a classifier, of texts as well as of arrays."""
