"""The router of a recipe, on the recipe's port before its Bentos: it passes requests on to the champion's, changes to a
new champion without losing one, and tries a challenger on a share of them.

It is no part of a bundle, of which it serves one version after another.
"""
