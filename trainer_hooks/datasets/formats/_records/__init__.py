"""What COCO and its relatives have in common: images, categories and annotations as records of one JSON file."""
