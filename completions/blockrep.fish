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
complete -c blockrep -n __fish_use_subcommand -a agent -d 'run the agent of this machine'
complete -c blockrep -n __fish_use_subcommand -a group -d 'make a group, join one, look at it'
complete -c blockrep -n __fish_use_subcommand -a backup -d 'send the first area to the other members'
complete -c blockrep -n __fish_use_subcommand -a history -d 'list the epochs that can be restored'
complete -c blockrep -n __fish_use_subcommand -a status -d 'what is protected, how old it is, what is not'
complete -c blockrep -n __fish_use_subcommand -a takeover -d 'go on as the writer of an owner\'s replicas'
complete -c blockrep -n __fish_use_subcommand -a accept -d 'let one oversize epoch in'
complete -c blockrep -n __fish_use_subcommand -a jobs -d 'list the jobs of the agent, or cancel one'
complete -c blockrep -n __fish_use_subcommand -a restore -d 'write an epoch onto a bare disk'
complete -c blockrep -n __fish_use_subcommand -a mount -d 'show the files of an epoch in a directory'
complete -c blockrep -n __fish_use_subcommand -a unmount -d 'end a mount'
complete -c blockrep -n __fish_use_subcommand -a extract -d 'copy files out of an epoch'
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
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l config -d 'settings (default: /etc/blockrep/agent.toml)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l device -d 'a divided disk that takes part; may be given several times' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l listen -d 'where peers reach it' -x
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l address -d 'what the other members are told instead; may be given several times' -x
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l name -d 'what the others call this machine' -x
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l state-dir -d 'where it keeps its state' -x -a '(__fish_complete_directories)'
complete -c blockrep -n '__fish_seen_subcommand_from agent' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a create -d 'make a group'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a invite -d 'make a code for one machine'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a join -d 'ask to join a group'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a approve -d 'let a machine in that asked'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a refuse -d 'send a machine away that asked'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a remove -d 'remove a member'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a grant -d 'grant a member something at this machine'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a withdraw -d 'withdraw a grant'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a deny -d 'deny something for a member\'s replicas here'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a allow -d 'take a denial back'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a leave -d 'leave the group'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a recovery-key -d 'make a new recovery key'
complete -c blockrep -n '__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from create invite join approve refuse remove grant withdraw deny allow leave recovery-key show' -a show -d 'show the members'
complete -c blockrep -n '__fish_seen_subcommand_from group' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from group' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from group' -l device -d 'a disk of the agent that takes part (default: all that are in no group yet)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from group' -l no-encrypt -d 'let holders see the content; compresses it'
complete -c blockrep -n '__fish_seen_subcommand_from group' -l recovery-key-file -d 'write the recovery key to FILE instead of showing it' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from group' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from group' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from group' -l yes -d 'do not ask whether the digits agree'
complete -c blockrep -n '__fish_seen_subcommand_from backup' -F
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l mode -d 'read and send everything, or only what has changed (default)' -x
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l to -d 'only to this member; may be given several times' -x
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from backup' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from history' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from history' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from history' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from history' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from status' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from status' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from status' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from status' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l recovery-key-file -d 'read the recovery key from FILE' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l from -d 'a holder to ask, where in no group' -x
complete -c blockrep -n '__fish_seen_subcommand_from takeover' -l device -d 'which of several devices' -x
complete -c blockrep -n '__fish_seen_subcommand_from accept' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from accept' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from accept' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from accept' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from accept' -l device -d 'which of several devices' -x
complete -c blockrep -n '__fish_seen_subcommand_from jobs' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from jobs' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from jobs' -l cancel -d 'cancel the job with this number' -x
complete -c blockrep -n '__fish_seen_subcommand_from jobs' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l to -d 'the disk or image to write' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l overwrite -d 'the same disk again: needed when it holds segments' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l verify -d 'read the disk back afterwards'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l accept-damage -d 'restore even if no holder has all of it; what is missing becomes zeros'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l dry-run -d 'show the plan and change nothing'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l yes -d 'do not ask'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l epoch -d 'its number or id (default: the newest)' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l device -d 'which of several devices of the owner' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l from -d 'only from this holder; HOST:PORT on a machine that is in no group' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l recovery-key -d 'ask for the owner\'s recovery key'
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l recovery-key-file -d 'read the recovery key from FILE' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from restore' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from mount' -F
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l partition -d 'which partition, if several have a filesystem' -x
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l epoch -d 'its number or id (default: the newest)' -x
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l device -d 'which of several devices of the owner' -x
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l from -d 'only from this holder; HOST:PORT on a machine that is in no group' -x
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l recovery-key -d 'ask for the owner\'s recovery key'
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l recovery-key-file -d 'read the recovery key from FILE' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from mount' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from unmount' -F
complete -c blockrep -n '__fish_seen_subcommand_from unmount' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from unmount' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l help -d 'show this help message and exit'
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l json -d 'write one JSON document to standard output'
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l into -d 'the directory to copy into' -x -a '(__fish_complete_directories)'
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l partition -d 'which partition, if several have a filesystem' -x
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l epoch -d 'its number or id (default: the newest)' -x
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l device -d 'which of several devices of the owner' -x
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l from -d 'only from this holder; HOST:PORT on a machine that is in no group' -x
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l recovery-key -d 'ask for the owner\'s recovery key'
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l recovery-key-file -d 'read the recovery key from FILE' -r -F
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l group -d 'which of several groups' -x
complete -c blockrep -n '__fish_seen_subcommand_from extract' -l socket -d 'the agent\'s socket (default: /run/blockrep/agent.sock)' -r -F
