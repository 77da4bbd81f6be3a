"""The daemon of a member: its devices, its jobs, what peers and the command line ask of it."""
