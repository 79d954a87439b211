# bash completion of vagtctl(8)

_vagtctl()
{
    local commands='status devices send commands command cancel events handover members maintenance restart rolling-restart drill drills audit area bridges files keys hash why ready ping metrics db deadletter backup restore pki recover'
    local common='--socket --json --timeout --identity --known --help --version'
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' own='' words='' i

    # The first word that is neither an option nor the argument of one.
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -s | --socket | --timeout | -i | --identity | --known) ((i++)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done

    case $prev in
    -i | --identity | --known | --conninfo-file | --encrypt-to | --key | --to | --data-dir)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -s | --socket | --timeout | --area | -a | --name | -n | --id | --timeout-ms | --limit | \
        --events | --count | --node | --yes-i-mean | --until | --for | --budget | --canary | --days)
        COMPREPLY=()
        return
        ;;
    esac

    case $command in
    '') words=$commands ;;
    status) own='--watch --stale' ;;
    devices) own='--area --name' ;;
    send) own='--area --id --timeout-ms --no-wait' ;;
    commands) own='--open --limit' ;;
    command) own='' ;;
    cancel) own='' ;;
    events) own='--events --count' ;;
    handover) own='--to' ;;
    members) own='--no-wait --role' words='list add promote demote remove replace cancel' ;;
    maintenance) own='--until --for' words='on off' ;;
    restart) own='--force' ;;
    rolling-restart) own='--force' ;;
    drill) own='--dry-run --yes --budget --canary --force' words='handover kill vanish broker postgres bridge full abort show' ;;
    drills) own='--limit' ;;
    audit) own='--limit --who' words='list verify export' ;;
    area) own='' words='on off' ;;
    bridges) own='' words='check write' ;;
    keys) own='' words='list new add revoke' ;;
    files) own='' words='list history diff rollback forget' ;;
    hash) own='' ;;
    why) own='' ;;
    ready) own='' ;;
    ping) own='' ;;
    metrics) own='' ;;
    db) own='--conninfo-file' words='migrate status' ;;
    backup) own='--to --encrypt-to --key' words='verify' ;;
    restore) own='--key --data-dir --node' ;;
    pki) own='--days' words='init node renew show' ;;
    recover) own='--yes-i-mean' ;;
    deadletter) own='--conninfo-file --limit' words='list show replay drop all' ;;
    esac
    if [[ $cur == -* ]]; then
        words="$own $common"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _vagtctl vagtctl
