# Completion of vmferry(8) for bash.
_vmferry() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} flags
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "check status plan migrate drain undrain report version help" -- "$cur")
		return
	fi
	case $prev in
	--config | --html)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--transport)
		mapfile -t COMPREPLY < <(compgen -W "tcp tls ssh" -- "$cur")
		return
		;;
	--disks)
		mapfile -t COMPREPLY < <(compgen -W "shared copy auto" -- "$cur")
		return
		;;
	--since)
		mapfile -t COMPREPLY < <(compgen -W "24h 7d 30d" -- "$cur")
		return
		;;
	esac
	flags="--json --config"
	case $command in
	plan) flags+=" --bandwidth --no-measure --window" ;;
	migrate) flags+=" --to-uri --transport --bandwidth --budget --disks --deadline --watch --lifetime" ;;
	drain) flags+=" --window" ;;
	report) flags+=" --since --html" ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
	elif [[ $command == migrate && $COMP_CWORD == 2 ]]; then
		# Its own list of guests; silence where nobody answers.
		mapfile -t COMPREPLY < <(compgen -W "$(vmferry status --json 2>/dev/null | sed -n 's/^ *"guest": "\(.*\)",$/\1/p')" -- "$cur")
	fi
}
complete -F _vmferry vmferry
