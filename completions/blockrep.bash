# Written by scripts/generate from blockrep/cli/parser.py.

_blockrep() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options words=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "devices inspect divide show recover undivide agent group backup history status takeover accept jobs restore mount unmount extract --help --version" -- "$word")
        return
    fi
    case $before in
        --svg|--journal|--config|--device|--socket|--recovery-key-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --shadow-dir|--state-dir|--into) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --first|--peers|--history|--listen|--address|--name|--group|--mode|--to|--from|--device|--cancel|--overwrite|--epoch|--partition) return ;;
    esac
    case ${COMP_WORDS[1]} in
        devices) options="--help --json" ;;
        inspect) options="--help --json --svg --files" ;;
        divide) options="--help --json --first --peers --history --dry-run --yes --fsck --defrag --no-join --shadow-dir --journal" ;;
        show) options="--help --json" ;;
        recover) options="--help --json --back --journal" ;;
        undivide) options="--help --json --dry-run --yes --shadow-dir --journal" ;;
        agent) options="--help --json --config --device --listen --address --name --state-dir --socket" ;;
        group) options="--help --json --device --no-encrypt --recovery-key-file --socket --group --yes" ;;
        backup) options="--help --json --mode --to --group --socket" ;;
        history) options="--help --json --group --socket" ;;
        status) options="--help --json --group --socket" ;;
        takeover) options="--help --json --group --socket --recovery-key-file --from --device" ;;
        accept) options="--help --json --group --socket --device" ;;
        jobs) options="--help --json --cancel --socket" ;;
        restore) options="--help --json --to --overwrite --verify --accept-damage --dry-run --yes --epoch --device --from --recovery-key --recovery-key-file --group --socket" ;;
        mount) options="--help --json --partition --epoch --device --from --recovery-key --recovery-key-file --group --socket" ;;
        unmount) options="--help --json" ;;
        extract) options="--help --json --into --partition --epoch --device --from --recovery-key --recovery-key-file --group --socket" ;;
        *) return ;;
    esac
    case ${COMP_WORDS[1]} in
        group) words="create invite join approve refuse remove grant withdraw deny allow leave recovery-key show" ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    elif ((COMP_CWORD == 2)) && [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    else
        case ${COMP_WORDS[1]} in
            inspect|divide|show|recover|undivide|backup|mount|unmount)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        esac
    fi
}
complete -F _blockrep blockrep
