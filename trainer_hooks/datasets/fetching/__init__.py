"""From storage into the cache."""
