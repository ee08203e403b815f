"""What loads a bundle's model and answers with it, one file a task: what is measured is what is served."""
