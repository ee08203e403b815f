"""The log of requests and their answers, and of the labels that users said were right."""
