"""What is on a disk: devices, tables, filesystems, holds, the area record."""
