# Written by scripts/generate from blockrep/cli/parser.py.

complete -c blockrep -f
complete -c blockrep -n __fish_use_subcommand -l help -d 'show help'
complete -c blockrep -n __fish_use_subcommand -l version -d 'show the version'
complete -c blockrep -n __fish_use_subcommand -a devices -d 'list the devices and whether they can be divided'
complete -c blockrep -n __fish_use_subcommand -a inspect -d 'show what lies where on a disk'
complete -c blockrep -n __fish_use_subcommand -a divide -d 'divide a disk into a first area and segments'
complete -c blockrep -n __fish_use_subcommand -a show -d 'show the divider and the segments of a disk'
complete -c blockrep -n __fish_use_subcommand -a recover -d 'complete or back out of an interrupted change'
complete -c blockrep -n __fish_use_subcommand -a undivide -d 'give the second area back'
complete -c blockrep -n '__fish_seen_subcommand_from devices' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from devices' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from inspect' -F
complete -c blockrep -n '__fish_seen_subcommand_from inspect' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from inspect' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from inspect' -l svg -d 'write the map as a picture to FILE' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from inspect' -l files -d 'list every file, its runs and its first address'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -F
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l first -d 'the size of the first area: where the divider will be' -x
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l peers -d 'how many segments to make, at most 64; 0 reserves the second area in one piece' -x
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l history -d 'the share of each segment for older versions (default: 10% where there is room)' -x
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l dry-run -d 'show the plan and change nothing'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l yes -d 'do not ask'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l fsck -d 'let e2fsck replay the journal or repair first'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l defrag -d 'join files in further rounds until none improves'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l no-join -d 'move only what must move; fastest'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l shadow-dir -d 'keep the shadow of the metadata in DIR instead of in memory' -x -a '(__fish_complete_directories)'
complete -c blockrep -n '__fish_seen_subcommand_from divide' -l journal -d 'keep the log in FILE, on a persistent disk other than DISK' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from show' -F
complete -c blockrep -n '__fish_seen_subcommand_from show' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from show' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from recover' -F
complete -c blockrep -n '__fish_seen_subcommand_from recover' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from recover' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from recover' -l back -d 'return to the disk as it was before the change'
complete -c blockrep -n '__fish_seen_subcommand_from recover' -l journal -d 'the file that `--journal` named before' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -F
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l dry-run -d 'show the plan and change nothing'
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l yes -d 'do not ask'
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l shadow-dir -d 'keep the shadow of the metadata in DIR instead of in memory' -x -a '(__fish_complete_directories)'
complete -c blockrep -n '__fish_seen_subcommand_from undivide' -l journal -d 'keep the log in FILE, on a persistent disk other than DISK' -r -F
