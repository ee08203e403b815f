"""What stands before a recipe's Bentos on the recipe's port: it passes requests on to the champion's, changes to a new
champion without losing one, and tries a challenger on a share of them.

It is no part of a bundle. It starts Bentos with what it is handed (`Launcher`), since it knows neither BentoML's store
nor the registry.
"""
