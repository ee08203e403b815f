"""A generator and a discriminator of fully connected layers."""
