"""Small test disks with aged filesystems in them, built once and kept in a cache."""
