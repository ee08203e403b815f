"""What a person should look at: slices on which a classifier is surely worse, and labels that are likely wrong."""
