"""The kinds of test disks: what each is made of and why it is there."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20

# Small groups, so that a small disk has many of them and a shrink renumbers inodes.
SMALL_GROUPS = ("-g", "2048", "-G", "2")


@dataclass(frozen=True)
class Tail:
    """A partition behind the host's, at the end of the disk: `what` is "ext2", "swap" or "raw"."""

    what: str
    mib: int = 4


@dataclass(frozen=True)
class Kind:
    """A recipe. `mkfs` goes to mke2fs; `first_mib` is where the divider shall be."""

    name: str
    mkfs: tuple[str, ...]
    table: str = "gpt"  # "gpt", "dos" or "none"
    disk_mib: int = 64
    first_mib: int = 40
    peers: int = 2
    start_lba: int = 2048
    tail: tuple[Tail, ...] = field(default=())
    spare_mib: int = 0  # in no partition, behind all of them
    used_percent: int = 42  # of the filesystem, after ageing
    mountable: bool = True  # by this kernel; else filled by mke2fs -d
    tight: bool = False  # full behind the divider, 95 % full afterwards
    sector_bytes: int = 512
    defrag: bool = False  # divide --defrag
    journal: bool = False  # divide and undivide --journal


EXT4 = ("-t", "ext4", "-b", "4096", "-J", "size=4", *SMALL_GROUPS, "-N", "4096")
OFFLINE = ("-t", "ext4", "-b", "4096", "-J", "size=4", *SMALL_GROUPS, "-N", "1600")

KINDS = (
    Kind("ext4_4k", EXT4),
    Kind(
        "ext4_1k",
        ("-t", "ext4", "-b", "1024", "-J", "size=2", "-G", "2", "-N", "4096"),
        disk_mib=52,
        first_mib=30,
    ),
    Kind("ext2", ("-t", "ext2", "-b", "1024", "-N", "4096"), disk_mib=52, first_mib=30),
    Kind(
        "ext3_high_journal",
        ("-t", "ext3", "-b", "4096", "-J", "size=4,location=13000", "-g", "2048", "-N", "4096"),
    ),
    Kind(
        "bigalloc",
        (
            "-t",
            "ext4",
            "-b",
            "4096",
            "-C",
            "16384",
            "-g",
            "1024",
            "-G",
            "2",
            "-O",
            "bigalloc",
            "-J",
            "size=4",
            "-N",
            "4096",
        ),
        disk_mib=128,
        first_mib=80,
        used_percent=40,
    ),
    Kind("orphan_file", (*EXT4, "-O", "orphan_file")),
    Kind("tight", EXT4, disk_mib=72, first_mib=58, peers=1, tight=True),
    Kind("tight_no_gap", EXT4, disk_mib=72, first_mib=58, peers=1, tight=True, start_lba=40),
    Kind("mbr", EXT4, table="dos"),
    Kind("second_partition", EXT4, disk_mib=72, first_mib=46, tail=(Tail("ext2", 2),)),
    Kind("swap", EXT4, disk_mib=72, first_mib=46, tail=(Tail("swap"),)),
    Kind("mbr_swap", EXT4, table="dos", disk_mib=72, first_mib=46, tail=(Tail("swap"),)),
    Kind("bare", EXT4, table="none"),
    Kind(
        "lazy",  # uninitialised tables and bitmaps over garbage, checksums of the older kind
        (*EXT4, "-O", "uninit_bg,^metadata_csum", "-E", "lazy_itable_init=1,nodiscard"),
    ),
    Kind("inline_data", (*EXT4, "-O", "inline_data", "-I", "256")),
    Kind("meta_bg", (*EXT4, "-O", "meta_bg,^resize_inode")),
    Kind("ea_inode", (*EXT4, "-O", "ea_inode,large_dir", "-I", "512")),
    Kind("sparse_super2", (*EXT4, "-O", "sparse_super2,^resize_inode")),
    Kind("quota", (*OFFLINE, "-O", "quota,project", "-I", "256"), mountable=False),
    Kind(
        "ext4_64k",
        ("-t", "ext4", "-b", "65536", "-J", "size=64", "-g", "1024", "-N", "2048"),
        disk_mib=256,
        first_mib=152,
        mountable=False,
    ),
    Kind("sectors_4k", EXT4, sector_bytes=4096),
    # So full that joining has to go on in a second transaction.
    Kind("defrag", EXT4, first_mib=50, peers=1, used_percent=66, defrag=True),
    Kind("journal", EXT4, journal=True),
    Kind("casefold", (*OFFLINE, "-O", "casefold", "-E", "encoding=utf8"), mountable=False),
)
BY_NAME = {kind.name: kind for kind in KINDS}
# What the quality of the first task names; the others are for `--all`.
CORE = (
    "ext4_4k", "ext4_1k", "ext2", "ext3_high_journal", "bigalloc", "orphan_file",
    "tight", "mbr", "second_partition", "swap", "bare",
)  # fmt: skip
