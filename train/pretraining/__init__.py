"""What pretraining a small backbone from nothing adds: starting values, faster normalisation."""
