"""The cache of datasets."""
