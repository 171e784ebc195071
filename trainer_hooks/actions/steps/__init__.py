"""Steps: an action's work in parts, that are done in order, told, tried again, undone, and not done twice."""
