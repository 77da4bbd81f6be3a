"""An epoch looked at without restoring it: as a disk, as a filesystem, as files."""
