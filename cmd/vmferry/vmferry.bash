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
	migrate) flags+=" --to-uri --transport --tls --bandwidth --budget --disks --deadline --watch --lifetime" ;;
	drain) flags+=" --window" ;;
	report) flags+=" --since --html" ;;
	esac
	if [[ $cur == -* && " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
	elif [[ $command == migrate ]] && _vmferry_wants_guest; then
		_vmferry_guests "$cur"
	fi
}

# Whether no GUEST is named yet: all words after the command are flags.
_vmferry_wants_guest() {
	local word ended=
	for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
		[[ $ended || $word != -* ]] && return 1
		[[ $word == -- ]] && ended=yes
	done
	return 0
}

# Completes $1 to the names of vmferry's own list of guests, quoted where the shell needs it; silence where nobody
# answers. A name that begins with a dash is offered after --, and one that quotes cannot hold as it is, without quotes.
_vmferry_guests() {
	local name begun=$1 quote=
	case $begun in
	[\"\']*) quote=${begun:0:1} begun=${begun:1} ;;
	*) begun=${begun//\\/} ;;
	esac
	while IFS= read -r name; do
		[[ $name == "$begun"* ]] || continue
		[[ $name == -* && " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]] && continue
		[[ $quote && $name == *[\"\'\\\$\`]* ]] && continue
		[[ $quote ]] || printf -v name %q "$name"
		COMPREPLY+=("$name")
	done < <(vmferry status --json 2>/dev/null | sed -n 's/^ *"guest": "\(.*\)",$/\1/p' | sed 's/\\\(["\\]\)/\1/g')
}
complete -F _vmferry vmferry
