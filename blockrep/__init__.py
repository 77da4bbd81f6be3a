"""blockrep: the unused disk space of a group of computers as their mutual backup."""
