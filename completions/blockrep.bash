# Written by scripts/generate from blockrep/cli/parser.py.

_blockrep() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "devices inspect divide show recover undivide --help --version" -- "$word")
        return
    fi
    case $before in
        --svg|--journal) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --shadow-dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --first|--peers|--history) return ;;
    esac
    case ${COMP_WORDS[1]} in
        devices) options="--help --json" ;;
        inspect) options="--help --json --svg --files" ;;
        divide) options="--help --json --first --peers --history --dry-run --yes --fsck --defrag --no-join --shadow-dir --journal" ;;
        show) options="--help --json" ;;
        recover) options="--help --json --back --journal" ;;
        undivide) options="--help --json --dry-run --yes --shadow-dir --journal" ;;
        *) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    elif [[ ${COMP_WORDS[1]} != devices ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -F _blockrep blockrep
