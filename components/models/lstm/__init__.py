"""A recurrent language model of long short-term memory cells."""
