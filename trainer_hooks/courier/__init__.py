"""The delivering process: started by the training without waiting, it outlives the training and owes it nothing."""
