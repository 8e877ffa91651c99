"""The search for the best score under a budget: which shares to cut, tried one after the other."""
