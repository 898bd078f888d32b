"""What makes text fit to train and to test on."""
