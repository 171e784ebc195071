"""HTTP as the destinations speak it: requests with a deadline for all of it, and what an answer means for a record."""
